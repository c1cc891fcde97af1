package android.os;

/** A request or a reply was too large to be sent. */
public class TransactionTooLargeException extends RemoteException {
    private static final long serialVersionUID = 1L;

    /** Without a message. */
    public TransactionTooLargeException() {}

    /** With a message. */
    public TransactionTooLargeException(String message) {
        super(message);
    }
}
