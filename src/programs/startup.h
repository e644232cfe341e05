/* What a program sets for its whole process before it begins. Called by the two mains, once, and by nobody else. */
#ifndef SHMQ_PROGRAMS_STARTUP_H
#define SHMQ_PROGRAMS_STARTUP_H

void startup(void);

#endif
