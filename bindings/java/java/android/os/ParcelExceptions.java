package android.os;

import java.util.Objects;

/**
 * Exceptions at the beginning of a reply, as {@code Status} of the Rust and C++ sides has them: a code; unless that is 0 the
 * message and the size of a stack trace; the number of a {@link ServiceSpecificException}.
 */
final class ParcelExceptions {
    static final int NONE = 0;
    private static final int SECURITY = -1;
    private static final int BAD_PARCELABLE = -2;
    private static final int ILLEGAL_ARGUMENT = -3;
    private static final int NULL_POINTER = -4;
    private static final int ILLEGAL_STATE = -5;
    private static final int UNSUPPORTED_OPERATION = -7;
    private static final int SERVICE_SPECIFIC = -8;
    private static final int PARCELABLE = -9;
    /** A header that comes before the code. */
    private static final int HAS_NOTED_APPOPS_REPLY_HEADER = -127;
    /** A header that comes instead of a code, which is 0 then. */
    private static final int HAS_REPLY_HEADER = -128;

    private ParcelExceptions() {}

    /** The code that an exception travels with; 0 if it cannot. */
    static int code(Exception exception) {
        if (exception instanceof SecurityException) {
            return SECURITY;
        } else if (exception instanceof BadParcelableException) {
            return BAD_PARCELABLE;
        } else if (exception instanceof IllegalArgumentException) {
            return ILLEGAL_ARGUMENT;
        } else if (exception instanceof NullPointerException) {
            return NULL_POINTER;
        } else if (exception instanceof IllegalStateException) {
            return ILLEGAL_STATE;
        } else if (exception instanceof UnsupportedOperationException) {
            return UNSUPPORTED_OPERATION;
        } else if (exception instanceof ServiceSpecificException) {
            return SERVICE_SPECIFIC;
        }
        return NONE;
    }

    static void write(ParcelBuffer to, Exception exception) {
        int code = code(Objects.requireNonNull(exception));
        if (code == NONE) {
            if (exception instanceof RuntimeException) {
                throw (RuntimeException) exception;
            }
            throw new RuntimeException(exception);
        }
        to.writeInt(code);
        to.writeString16(exception.getMessage());
        to.writeInt(0);
        if (code == SERVICE_SPECIFIC) {
            to.writeInt(((ServiceSpecificException) exception).errorCode);
        }
    }

    /** The exception that a reply begins with, or null. */
    static RuntimeException read(ParcelBuffer from) {
        int start = from.position;
        try {
            int code = from.readInt();
            if (code == HAS_NOTED_APPOPS_REPLY_HEADER) {
                skipHeader(from);
                code = from.readInt();
            }
            if (code == HAS_REPLY_HEADER) {
                skipHeader(from);
                code = NONE;
            }
            return code == NONE ? null : read(from, code, from.readString16());
        } catch (BadParcelableException exception) {
            from.position = start;
            throw exception;
        }
    }

    /** The exception of a code and a message, with what follows them. */
    static RuntimeException read(ParcelBuffer from, int code, String message) {
        String trace = readStackTrace(from);
        RuntimeException exception = exception(from, code, message);
        if (trace != null) {
            exception.initCause(new RemoteException("Remote stack trace:\n" + trace, null, false, false));
        }
        return exception;
    }

    private static RuntimeException exception(ParcelBuffer from, int code, String message) {
        switch (code) {
            case SECURITY:
                return new SecurityException(message);
            case BAD_PARCELABLE:
                return new BadParcelableException(message);
            case ILLEGAL_ARGUMENT:
                return new IllegalArgumentException(message);
            case NULL_POINTER:
                return new NullPointerException(message);
            case ILLEGAL_STATE:
                return new IllegalStateException(message);
            case UNSUPPORTED_OPERATION:
                return new UnsupportedOperationException(message);
            case SERVICE_SPECIFIC:
                return new ServiceSpecificException(from.readInt(), message);
            case PARCELABLE:
                skipHeader(from);
                return new RuntimeException(message + " [missing Parcelable]");
            default:
                return new RuntimeException("Unknown exception code: " + code + " msg " + message);
        }
    }

    private static String readStackTrace(ParcelBuffer from) {
        int start = from.position;
        int end = headerEnd(from);
        if (end - start < 8) {
            return null;
        }
        String trace = from.readString16();
        if (from.position > end) {
            throw new BadParcelableException("the stack trace at " + start + " is longer than its header says");
        }
        from.position = end;
        return trace;
    }

    private static void skipHeader(ParcelBuffer from) {
        from.position = headerEnd(from);
    }

    /** Reads the size of a header, which counts itself, and gives where the header ends. 0 is an empty one. */
    private static int headerEnd(ParcelBuffer from) {
        int start = from.position;
        int size = from.readInt();
        if (size < 0 || size > from.size - start) {
            throw new BadParcelableException("the header at " + start + " has the size " + size);
        }
        return start + Math.max(size, 4);
    }
}
