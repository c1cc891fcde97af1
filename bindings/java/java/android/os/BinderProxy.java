package android.os;

import android.util.Log;
import java.io.FileDescriptor;
import java.lang.ref.Cleaner;
import java.lang.ref.Reference;
import java.util.ArrayList;
import java.util.List;
import java.util.NoSuchElementException;
import java.util.Objects;

/**
 * An object of another process. While one is held, the same object of the same process is the same proxy, however often it is
 * received. Recipients of its death belong to it: they are told only while the proxy is held.
 */
final class BinderProxy implements IBinder {
    private static final String TAG = "Binder";
    private static final Cleaner CLEANER = Cleaner.create();

    private final long handle;
    private volatile String descriptor;
    private List<DeathRecipient> recipients;
    private boolean isTold;

    /** Called by native code. */
    private BinderProxy(long handle) {
        this.handle = handle;
        CLEANER.register(this, () -> release(handle));
    }

    long handle() {
        return handle;
    }

    @Override
    public String getInterfaceDescriptor() throws RemoteException {
        String known = descriptor;
        if (known == null) {
            try {
                known = describe(handle);
            } finally {
                Reference.reachabilityFence(this);
            }
            descriptor = known;
        }
        return known;
    }

    @Override
    public boolean pingBinder() {
        try {
            return ping(handle);
        } finally {
            Reference.reachabilityFence(this);
        }
    }

    @Override
    public boolean isBinderAlive() {
        try {
            return isAlive(handle);
        } finally {
            Reference.reachabilityFence(this);
        }
    }

    /** Null. */
    @Override
    public IInterface queryLocalInterface(String descriptor) {
        return null;
    }

    @Override
    public void dump(FileDescriptor fd, String[] args) throws RemoteException {
        dump(fd, args, 0);
    }

    @Override
    public void dumpAsync(FileDescriptor fd, String[] args) throws RemoteException {
        dump(fd, args, FLAG_ONEWAY);
    }

    private void dump(FileDescriptor fd, String[] args, int flags) throws RemoteException {
        Objects.requireNonNull(fd, "fd");
        Parcel data = Parcel.obtain();
        Parcel reply = Parcel.obtain();
        try {
            // Over sockets every call has one.
            data.writeInterfaceToken(getInterfaceDescriptor());
            data.writeFileDescriptor(fd);
            data.writeStringArray(args == null ? new String[0] : args);
            transact(DUMP_TRANSACTION, data, reply, flags);
            // Services in other languages answer with nothing.
            if (reply.dataSize() > 0) {
                reply.readException();
            }
        } finally {
            reply.recycle();
            data.recycle();
        }
    }

    /**
     * Calls the object.
     *
     * @throws DeadObjectException if its process has ended; also, as on Android, if the reply to a small request was too large
     * @throws TransactionTooLargeException if a parcel is larger than 64 MiB
     * @throws IllegalArgumentException if {@code data} does not begin with the interface token of the object, or has one and
     *     the object has no interface; if it has more than 64 descriptors; or if the object refused a value
     * @throws ParcelFormatException if the object found {@code data} too short
     * @throws SecurityException if the object does not permit it
     * @throws UnsupportedOperationException if {@code data} has an object of a third process, which cannot be called by the other
     * @throws RemoteException for everything else that is not the called method's own
     */
    @Override
    public boolean transact(int code, Parcel data, Parcel reply, int flags) throws RemoteException {
        Objects.requireNonNull(data, "data");
        try {
            if (data.objectCount() == 0) {
                return transact(handle, code, data.data(), data.dataSize(), null, null, data.hasToken(), reply, flags);
            }
            OutgoingParcel outgoing = OutgoingParcel.of(data);
            return transact(
                    handle, code, outgoing.bytes, outgoing.size, outgoing.places, outgoing.objects, data.hasToken(), reply, flags);
        } finally {
            Reference.reachabilityFence(this);
            Reference.reachabilityFence(data);
        }
    }

    /** The same recipient may be linked several times, and is told as often. */
    @Override
    public void linkToDeath(DeathRecipient recipient, int flags) throws RemoteException {
        Objects.requireNonNull(recipient, "recipient");
        synchronized (this) {
            if (!isTold && isAlive(handle)) {
                if (recipients == null) {
                    recipients = new ArrayList<>();
                }
                recipients.add(recipient);
                return;
            }
        }
        throw new DeadObjectException("the process of the object has ended");
    }

    @Override
    public synchronized boolean unlinkToDeath(DeathRecipient recipient, int flags) {
        Objects.requireNonNull(recipient, "recipient");
        if (isTold) {
            return false;
        }
        for (int index = 0; recipients != null && index < recipients.size(); index++) {
            if (recipients.get(index) == recipient) {
                recipients.remove(index);
                return isAlive(handle);
            }
        }
        throw new NoSuchElementException("the recipient is not linked to the death of this object");
    }

    /** The process has ended. Called once by native code, on a thread of Binder. */
    private void died() {
        List<DeathRecipient> told;
        synchronized (this) {
            isTold = true;
            told = recipients == null ? List.of() : recipients;
            recipients = null;
        }
        for (DeathRecipient recipient : told) {
            try {
                recipient.binderDied(this);
            } catch (Throwable thrown) {
                Log.w(TAG, "thrown by " + recipient.getClass().getName() + " when it was told of a death", thrown);
            }
        }
    }

    @Override
    public String toString() {
        return "BinderProxy{" + handle + "}";
    }

    private static native boolean transact(long handle, int code, byte[] bytes, int size, long[] places, Object[] objects,
            boolean hasToken, Parcel reply, int flags) throws RemoteException;

    private static native String describe(long handle) throws RemoteException;

    private static native boolean ping(long handle);

    private static native boolean isAlive(long handle);

    private static native void release(long handle);

    /** How many proxies, objects that other processes hold, and received parcels there are. For tests. */
    private static native int[] counts();
}
