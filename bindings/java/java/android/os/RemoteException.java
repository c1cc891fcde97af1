package android.os;

import android.util.AndroidException;

/** A call to another process failed below the called method: every method of a remote interface may throw it. */
public class RemoteException extends AndroidException {
    private static final long serialVersionUID = 1L;

    /** Without a message. */
    public RemoteException() {}

    /** With a message. */
    public RemoteException(String message) {
        super(message);
    }

    /** As {@link Exception#Exception(String, Throwable, boolean, boolean)}. */
    public RemoteException(String message, Throwable cause, boolean enableSuppression, boolean writableStackTrace) {
        super(message, cause, enableSuppression, writableStackTrace);
    }

    /**
     * Throws this as the cause of a {@link RuntimeException}. Write {@code throw e.rethrowAsRuntimeException()}, so that the
     * compiler knows.
     */
    public RuntimeException rethrowAsRuntimeException() {
        throw new RuntimeException(this);
    }

    /** As {@link #rethrowAsRuntimeException()}. No process is the system here, so its death has no exception of its own. */
    public RuntimeException rethrowFromSystemServer() {
        throw new RuntimeException(this);
    }
}
