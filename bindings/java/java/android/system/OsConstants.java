package android.system;

/**
 * Constants of Linux's system calls, with the values of the processor that this runs on. Only what goes with memory, files and
 * error numbers; Android has many more.
 */
public final class OsConstants {
    private static final boolean IS_ARM = System.getProperty("os.arch").equals("aarch64");

    /** Pages may not be accessed: {@code mmap(2)}. */
    public static final int PROT_NONE = 0;
    /** Pages may be read. */
    public static final int PROT_READ = 1;
    /** Pages may be written. */
    public static final int PROT_WRITE = 2;
    /** Pages may be executed. */
    public static final int PROT_EXEC = 4;

    public static final int MAP_SHARED = 1;
    public static final int MAP_PRIVATE = 2;
    public static final int MAP_FIXED = 0x10;
    public static final int MAP_ANONYMOUS = 0x20;

    public static final int O_RDONLY = 0;
    public static final int O_WRONLY = 1;
    public static final int O_RDWR = 2;
    public static final int O_ACCMODE = 3;
    public static final int O_CREAT = 0100;
    public static final int O_EXCL = 0200;
    public static final int O_NOCTTY = 0400;
    public static final int O_TRUNC = 01000;
    public static final int O_APPEND = 02000;
    public static final int O_NONBLOCK = 04000;
    public static final int O_DSYNC = 010000;
    public static final int O_DIRECT = IS_ARM ? 0200000 : 040000;
    public static final int O_NOFOLLOW = IS_ARM ? 0100000 : 0400000;
    public static final int O_CLOEXEC = 02000000;
    public static final int O_SYNC = 04010000;

    public static final int SEEK_SET = 0;
    public static final int SEEK_CUR = 1;
    public static final int SEEK_END = 2;

    public static final int F_DUPFD = 0;
    public static final int F_GETFD = 1;
    public static final int F_SETFD = 2;
    public static final int F_GETFL = 3;
    public static final int F_SETFL = 4;
    public static final int FD_CLOEXEC = 1;

    public static final int S_IFMT = 0170000;
    public static final int S_IFSOCK = 0140000;
    public static final int S_IFLNK = 0120000;
    public static final int S_IFREG = 0100000;
    public static final int S_IFBLK = 060000;
    public static final int S_IFDIR = 040000;
    public static final int S_IFCHR = 020000;
    public static final int S_IFIFO = 010000;
    public static final int S_IRWXU = 0700;
    public static final int S_IRUSR = 0400;
    public static final int S_IWUSR = 0200;
    public static final int S_IXUSR = 0100;
    public static final int S_IRWXG = 070;
    public static final int S_IRGRP = 040;
    public static final int S_IWGRP = 020;
    public static final int S_IXGRP = 010;
    public static final int S_IRWXO = 07;
    public static final int S_IROTH = 04;
    public static final int S_IWOTH = 02;
    public static final int S_IXOTH = 01;

    public static final int E2BIG = 7;
    public static final int EACCES = 13;
    public static final int EADDRINUSE = 98;
    public static final int EADDRNOTAVAIL = 99;
    public static final int EAFNOSUPPORT = 97;
    public static final int EAGAIN = 11;
    public static final int EALREADY = 114;
    public static final int EBADF = 9;
    public static final int EBADMSG = 74;
    public static final int EBUSY = 16;
    public static final int ECANCELED = 125;
    public static final int ECHILD = 10;
    public static final int ECONNABORTED = 103;
    public static final int ECONNREFUSED = 111;
    public static final int ECONNRESET = 104;
    public static final int EDEADLK = 35;
    public static final int EDESTADDRREQ = 89;
    public static final int EDOM = 33;
    public static final int EDQUOT = 122;
    public static final int EEXIST = 17;
    public static final int EFAULT = 14;
    public static final int EFBIG = 27;
    public static final int EHOSTUNREACH = 113;
    public static final int EIDRM = 43;
    public static final int EILSEQ = 84;
    public static final int EINPROGRESS = 115;
    public static final int EINTR = 4;
    public static final int EINVAL = 22;
    public static final int EIO = 5;
    public static final int EISCONN = 106;
    public static final int EISDIR = 21;
    public static final int ELOOP = 40;
    public static final int EMFILE = 24;
    public static final int EMLINK = 31;
    public static final int EMSGSIZE = 90;
    public static final int EMULTIHOP = 72;
    public static final int ENAMETOOLONG = 36;
    public static final int ENETDOWN = 100;
    public static final int ENETRESET = 102;
    public static final int ENETUNREACH = 101;
    public static final int ENFILE = 23;
    public static final int ENOBUFS = 105;
    public static final int ENODATA = 61;
    public static final int ENODEV = 19;
    public static final int ENOENT = 2;
    public static final int ENOEXEC = 8;
    public static final int ENOLCK = 37;
    public static final int ENOLINK = 67;
    public static final int ENOMEM = 12;
    public static final int ENOMSG = 42;
    public static final int ENONET = 64;
    public static final int ENOPROTOOPT = 92;
    public static final int ENOSPC = 28;
    public static final int ENOSR = 63;
    public static final int ENOSTR = 60;
    public static final int ENOSYS = 38;
    public static final int ENOTCONN = 107;
    public static final int ENOTDIR = 20;
    public static final int ENOTEMPTY = 39;
    public static final int ENOTSOCK = 88;
    public static final int ENOTSUP = 95;
    public static final int ENOTTY = 25;
    public static final int ENXIO = 6;
    public static final int EOPNOTSUPP = 95;
    public static final int EOVERFLOW = 75;
    public static final int EPERM = 1;
    public static final int EPIPE = 32;
    public static final int EPROTO = 71;
    public static final int EPROTONOSUPPORT = 93;
    public static final int EPROTOTYPE = 91;
    public static final int ERANGE = 34;
    public static final int EROFS = 30;
    public static final int ESPIPE = 29;
    public static final int ESRCH = 3;
    public static final int ESTALE = 116;
    public static final int ETIME = 62;
    public static final int ETIMEDOUT = 110;
    public static final int ETXTBSY = 26;
    public static final int EUCLEAN = 117;
    public static final int EUSERS = 87;
    public static final int EXDEV = 18;

    private OsConstants() {}

    /** Whether a file's mode is that of a regular file. */
    public static boolean S_ISREG(int mode) {
        return (mode & S_IFMT) == S_IFREG;
    }

    /** Whether a file's mode is that of a directory. */
    public static boolean S_ISDIR(int mode) {
        return (mode & S_IFMT) == S_IFDIR;
    }

    /** Whether a file's mode is that of a symbolic link. */
    public static boolean S_ISLNK(int mode) {
        return (mode & S_IFMT) == S_IFLNK;
    }

    /** The name of an error number, such as {@code "EPERM"}; null if there is none. */
    public static String errnoName(int errno) {
        return Errnos.name(errno);
    }
}
