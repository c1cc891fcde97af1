package android.os;

/** An error of a service's own, told by a number that its interface defines. It reaches the caller with number and message. */
public class ServiceSpecificException extends RuntimeException {
    private static final long serialVersionUID = 1L;

    /** The number, which the interface defines. */
    public final int errorCode;

    /** With a message. */
    public ServiceSpecificException(int errorCode, String message) {
        super(message);
        this.errorCode = errorCode;
    }

    /** Without a message. */
    public ServiceSpecificException(int errorCode) {
        this.errorCode = errorCode;
    }

    /** With the number. */
    @Override
    public String toString() {
        return super.toString() + " (code " + errorCode + ")";
    }
}
