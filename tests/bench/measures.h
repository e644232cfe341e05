/* What can be measured of a peer. */
#ifndef MEASURES_H
#define MEASURES_H

#include "pair.h"

enum { MESSAGE_BYTES = 64 };

/* What one or several neighbouring columns of samples are together. */
struct figure {
    const char *name;
    uint32_t first, columns;
};

struct measure {
    const char *name;
    const char *unit;
    const char *about;
    part *part;
    uint32_t rounds;   /* by default */
    uint32_t round_ms; /* surely enough for one; what it waits in vain comes on top */
    uint32_t columns;
    bool sized;               /* of messages of any size */
    struct figure figures[3]; /* the last may be missing */
};

/* The last has no name. */
extern const struct measure measures[];

#endif
