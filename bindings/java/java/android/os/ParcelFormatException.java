package android.os;

/** What the other process sent is not a parcel. */
public class ParcelFormatException extends RuntimeException {
    private static final long serialVersionUID = 1L;

    /** Without a message. */
    public ParcelFormatException() {}

    /** With a message. */
    public ParcelFormatException(String reason) {
        super(reason);
    }
}
