package android.util;

/** The base of some unchecked exceptions of {@code android.os}. */
public class AndroidRuntimeException extends RuntimeException {
    private static final long serialVersionUID = 1L;

    /** Without a message. */
    public AndroidRuntimeException() {}

    /** With a message. */
    public AndroidRuntimeException(String message) {
        super(message);
    }

    /** With a message and a cause. */
    public AndroidRuntimeException(String message, Throwable cause) {
        super(message, cause);
    }

    /** With a cause, and its text as the message. */
    public AndroidRuntimeException(Exception cause) {
        super(cause);
    }
}
