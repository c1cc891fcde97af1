package android.os;

/** The base of interfaces that are called through {@link IBinder}. */
public interface IInterface {
    /** The binder behind this interface. Use this instead of a cast, for an interface may be a proxy. */
    IBinder asBinder();
}
