package android.util;

/** The base of the checked exceptions of {@code android.os}. */
public class AndroidException extends Exception {
    private static final long serialVersionUID = 1L;

    /** Without a message. */
    public AndroidException() {}

    /** With a message. */
    public AndroidException(String message) {
        super(message);
    }

    /** With a message and a cause. */
    public AndroidException(String message, Throwable cause) {
        super(message, cause);
    }

    /** With a cause, and its text as the message. */
    public AndroidException(Exception cause) {
        super(cause);
    }

    /** As {@link Exception#Exception(String, Throwable, boolean, boolean)}. */
    protected AndroidException(String message, Throwable cause, boolean enableSuppression, boolean writableStackTrace) {
        super(message, cause, enableSuppression, writableStackTrace);
    }
}
