package android.os;

import android.util.AndroidRuntimeException;

/** A {@link Parcel} does not hold what was to be read: it ends too early, or a length, a class name or an object is wrong. */
public class BadParcelableException extends AndroidRuntimeException {
    private static final long serialVersionUID = 1L;

    /** With a message. */
    public BadParcelableException(String message) {
        super(message);
    }

    /** With a message and a cause. */
    public BadParcelableException(String message, Throwable cause) {
        super(message, cause);
    }

    /** With a cause, and its text as the message. */
    public BadParcelableException(Exception cause) {
        super(cause);
    }
}
