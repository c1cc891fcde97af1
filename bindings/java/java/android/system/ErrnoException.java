package android.system;

import java.io.IOException;

/** A system call, or what stands for one here, failed with an error number. */
public final class ErrnoException extends Exception {
    private static final long serialVersionUID = 1L;

    /** The error number, to be compared with the constants of {@link OsConstants}. */
    public final int errno;

    private final String functionName;

    /**
     * With the name of the function that failed, and its error number.
     *
     * @param functionName shows in the message
     */
    public ErrnoException(String functionName, int errno) {
        this.functionName = functionName;
        this.errno = errno;
    }

    /** With a cause. */
    public ErrnoException(String functionName, int errno, Throwable cause) {
        super(cause);
        this.functionName = functionName;
        this.errno = errno;
    }

    /** Such as {@code mmap failed: EPERM (Operation not permitted)}. */
    @Override
    public String getMessage() {
        String name = OsConstants.errnoName(errno);
        return functionName + " failed: " + (name != null ? name : "errno " + errno) + " (" + Errnos.text(errno) + ")";
    }

    /**
     * Throws an {@link IOException} with the same message and this exception as its cause.
     *
     * @return never; the type lets the caller write {@code throw exception.rethrowAsIOException();}
     */
    public IOException rethrowAsIOException() throws IOException {
        throw new IOException(getMessage(), this);
    }
}
