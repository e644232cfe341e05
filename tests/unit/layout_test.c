/* The ABI: two builds of the library meet in one object, so no field may ever move without a new SHMQ_ABI. */
#include "check.h"

#include <stddef.h>

#include "layout.h"

#define IS_AT(type, field, offset) CHECK_EQUAL(offsetof(struct type, field), (offset))

TEST(fields_of_the_header_lie_where_every_build_expects_them) {
    IS_AT(header, magic, 0x00);
    IS_AT(header, abi, 0x08);
    IS_AT(header, page_size, 0x0c);
    IS_AT(header, object_size, 0x10);
    IS_AT(header, capacity, 0x18);
    IS_AT(header, max_message, 0x20);
    IS_AT(header, instance, 0x28);
    IS_AT(header, notify, 0x30);
    IS_AT(header, flags, 0x34);
    IS_AT(header, fingerprint, 0x38);
}

TEST(words_of_an_end_lie_where_every_build_expects_them) {
    IS_AT(end_page, cursor, 0x000);
    IS_AT(end_page, ticket, 0x080);
    IS_AT(end_page, want, 0x088);
    IS_AT(end_page, light, 0x090);
    IS_AT(end_page, bell, 0x100);
    IS_AT(end_page, lock, 0x180);
    IS_AT(end_page, messages, 0x200);
    IS_AT(end_page, sleeps, 0x208);
    IS_AT(end_page, rings, 0x210);
    IS_AT(end_page, life, 0x280);
    IS_AT(end_page, end_seen, 0x480);
    IS_AT(meeting, items, 0x000);
    IS_AT(meeting, space, 0x080);
}

int main(int argc, char **argv) { return check_main(argc, argv); }
