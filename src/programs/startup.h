/* What a program sets for its whole process before it begins. Called by the two mains, once, and by nobody else. */
#pragma once

void startup(void);
