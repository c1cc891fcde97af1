/* A library of something else. */
int stranger(void);

int stranger(void)
{
    return 7;
}
