package android.os;

/** The process that a call went to has ended, or the connection to it has. */
public class DeadObjectException extends RemoteException {
    private static final long serialVersionUID = 1L;

    /** Without a message. */
    public DeadObjectException() {}

    /** With a message. */
    public DeadObjectException(String message) {
        super(message);
    }
}
