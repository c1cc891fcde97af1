/* What the test programs have in common: they end with status 1, and say where, at the first thing that is not so. */
#ifndef CHECK_H
#define CHECK_H

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define CHECK(condition)                                                                                       \
    do {                                                                                                       \
        if (!(condition)) {                                                                                    \
            int check_errno = errno;                                                                           \
            fprintf(stderr, "%s:%d: %s (errno %s)\n", __FILE__, __LINE__, #condition, strerror(check_errno)); \
            exit(1);                                                                                           \
        }                                                                                                      \
    } while (0)

/* The call returns -1 with that errno. */
#define CHECK_FAILS(call, number)                                                                               \
    do {                                                                                                       \
        errno = 0;                                                                                             \
        CHECK((call) == -1);                                                                                   \
        CHECK(errno == (number));                                                                              \
    } while (0)

#endif
