package ashmem.test;

import android.os.IBinder;

/** What the service of these tests does, in Java and in Rust. All take the token first, and answer with an exception first. */
final class BinderCodes {
    static final String SERVICE = "echo";
    static final String DESCRIPTOR = "ashmem.test.IEcho";
    static final String CALLBACK = "ashmem.test.ICallback";

    /** int, long, float, double, boolean, string, null string, bytes, ints: the same. */
    static final int VALUES = IBinder.FIRST_CALL_TRANSACTION;
    /** Bytes: the same. */
    static final int BYTES = 2;
    /** A ParcelFileDescriptor to read {@link #IN_PIPE} from. */
    static final int GIVE_PIPE = 3;
    /** A ParcelFileDescriptor and a string: written into it. */
    static final int WRITE_INTO = 4;
    /** A callback and an int: what that answers. */
    static final int CALL = 5;
    /** A callback: kept. */
    static final int KEEP = 6;
    /** An int, one way: the callback that is kept is called with it, one way. */
    static final int CALL_KEPT = 7;
    /** The callback is kept no longer. */
    static final int FORGET = 8;
    /** A kind: fails in that way. */
    static final int FAIL = 9;
    /** The caller's uid and pid. */
    static final int CALLER = 10;
    /** A binder: the same. */
    static final int SAME = 11;
    /** The service's pid. */
    static final int OWN_PID = 12;
    /** Binder, descriptor, int, descriptor, null binder, binder, string: the same. */
    static final int OBJECTS = 13;
    /** The uid and pid while the identity is cleared, and afterwards. */
    static final int IDENTITY = 14;
    /** Nothing; the flags, and whether it came one way, go to the callback that is kept. */
    static final int FLAGS = 15;

    // Only in Java.
    /** A bare descriptor, an int, a bare descriptor, a long, two bare descriptors. */
    static final int BARE = 20;
    static final int THROW_ERROR = 21;
    static final int RECYCLE = 22;
    static final int KEEP_DATA = 23;
    /** What happens to the data that was kept. */
    static final int READ_KEPT_DATA = 24;
    /** A proxy of another process in the reply. */
    static final int FOREIGN = 25;
    /** More than a reply can have. */
    static final int LARGE = 26;
    /** Three bare descriptors in a row. */
    static final int BARE_ROW = 27;

    static final int ADD_ONE = 1;
    static final int TOLD = 2;

    static final int FAIL_ILLEGAL_ARGUMENT = 1;
    static final int FAIL_SECURITY = 2;
    static final int FAIL_SERVICE_SPECIFIC = 3;
    static final int FAIL_STATUS_PERMISSION = 4;
    static final int FAIL_UNSUPPORTED = 5;

    static final String IN_PIPE = "from the service";

    private BinderCodes() {}
}
