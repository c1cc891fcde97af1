package android.os;

import android.util.Log;
import java.io.FileDescriptor;
import java.io.FileOutputStream;
import java.io.IOException;
import java.io.PrintWriter;
import java.nio.charset.StandardCharsets;
import java.util.concurrent.atomic.AtomicLong;

/**
 * An object of this process that other processes can call: those that got it in a {@link Parcel}, or from the
 * {@link ServiceManager}. Extend it and implement {@link #onTransact}. Calls come in on threads named {@code Binder}, several at
 * the same time; calls of this process are plain method calls.
 *
 * <p>Other processes hold the object: it is not collected before the last of them lets it go or ends.
 *
 * <p>Over sockets, unlike Android's driver, Binder itself reads the interface token of a call from another process and compares
 * it with {@link #getInterfaceDescriptor()}, as it was when the object first left this process. A call with another token, or
 * without one, does not reach {@link #onTransact}: its caller gets an {@link IllegalArgumentException}. The token is still the
 * first thing in {@code data}. An object without an interface takes calls without a token, and only those.
 */
public class Binder implements IBinder {
    private static final String TAG = "Binder";
    private static final AtomicLong LAST_ID = new AtomicLong();

    /** By which native code knows that this object has left the process already. */
    private final long id = LAST_ID.incrementAndGet();
    private volatile String descriptor;
    private volatile IInterface owner;

    /** An object without an interface: see {@link #attachInterface}. */
    public Binder() {}

    /** An object with the name of an interface, and no implementation of it for this process. */
    public Binder(String descriptor) {
        this.descriptor = descriptor;
    }

    /** Says which interface this object has, and what implements it. To be called before the object leaves the process. */
    public void attachInterface(IInterface owner, String descriptor) {
        this.owner = owner;
        this.descriptor = descriptor;
    }

    /** The name of the interface, or null. */
    @Override
    public String getInterfaceDescriptor() {
        return descriptor;
    }

    /** True: an object of this process is there. */
    @Override
    public boolean pingBinder() {
        return true;
    }

    /** True: an object of this process is there. */
    @Override
    public boolean isBinderAlive() {
        return true;
    }

    @Override
    public IInterface queryLocalInterface(String descriptor) {
        String own = this.descriptor;
        return own != null && own.equals(descriptor) ? owner : null;
    }

    /**
     * Does what a caller asks for. This one answers {@link #INTERFACE_TRANSACTION} and {@link #DUMP_TRANSACTION}.
     *
     * <p>What it throws is thrown again in the caller's process if {@link Parcel#writeException} can write it; of a caller that
     * does not wait ({@link #FLAG_ONEWAY}) it is logged. After anything else, an {@link Error} for example, the caller gets a
     * {@link RemoteException}. The object goes on to serve.
     *
     * @param code what to do
     * @param data the arguments, from their beginning. Ends with this method, as does {@code reply}
     * @param reply takes the result; 64 descriptors at most
     * @param flags 0 or {@link #FLAG_ONEWAY}
     * @return false if there is no such code
     * @throws RemoteException what is to be thrown in the caller's process
     */
    protected boolean onTransact(int code, Parcel data, Parcel reply, int flags) throws RemoteException {
        if (code == INTERFACE_TRANSACTION) {
            if (reply != null) {
                reply.writeString(getInterfaceDescriptor());
            }
            return true;
        }
        if (code == DUMP_TRANSACTION) {
            try (ParcelFileDescriptor file = data.readFileDescriptor()) {
                String[] args = data.createStringArray();
                if (file != null) {
                    dump(file.getFileDescriptor(), args);
                }
            } catch (IOException exception) {
                Log.w(TAG, "the file of a dump cannot be closed", exception);
            }
            if (reply != null) {
                reply.writeNoException();
            }
            return true;
        }
        return false;
    }

    /** Calls {@link #onTransact} on this thread, with both parcels at their beginning before and after. */
    @Override
    public final boolean transact(int code, Parcel data, Parcel reply, int flags) throws RemoteException {
        if (data != null) {
            data.setDataPosition(0);
        }
        boolean known = onTransact(code, data, reply, flags);
        if (reply != null) {
            reply.setDataPosition(0);
        }
        return known;
    }

    /** Has {@link #dump(FileDescriptor, PrintWriter, String[])} print into a file, in UTF-8. */
    @Override
    public void dump(FileDescriptor fd, String[] args) {
        // Not closed: the descriptor is the caller's.
        FileOutputStream out = new FileOutputStream(fd);
        PrintWriter writer = new PrintWriter(out, false, StandardCharsets.UTF_8);
        try {
            dump(fd, writer, args);
        } finally {
            writer.flush();
        }
    }

    /** As {@link #dump(FileDescriptor, String[])}: an object of this process needs no waiting. */
    @Override
    public void dumpAsync(FileDescriptor fd, String[] args) {
        dump(fd, args);
    }

    /** Prints the object's state. This one prints nothing. */
    protected void dump(FileDescriptor fd, PrintWriter fout, String[] args) {}

    /** Does nothing: an object of this process dies with it. */
    @Override
    public void linkToDeath(DeathRecipient recipient, int flags) {}

    /** True. */
    @Override
    public boolean unlinkToDeath(DeathRecipient recipient, int flags) {
        return true;
    }

    /** The user id of the process whose call this thread serves, as the kernel says; of this process if it serves none. */
    public static final int getCallingUid() {
        NativeLibrary.require();
        return callingUid();
    }

    /** The process id of the process whose call this thread serves, as the kernel says; of this process if it serves none. */
    public static final int getCallingPid() {
        NativeLibrary.require();
        return callingPid();
    }

    /**
     * Makes this process the caller for {@link #getCallingUid()} and {@link #getCallingPid()} on this thread.
     *
     * @return for {@link #restoreCallingIdentity}
     */
    public static final long clearCallingIdentity() {
        NativeLibrary.require();
        return clearIdentity();
    }

    /** Undoes {@link #clearCallingIdentity()}. */
    public static final void restoreCallingIdentity(long token) {
        NativeLibrary.require();
        restoreIdentity(token);
    }

    /** Does nothing: nothing is held back here. */
    public static final void flushPendingCommands() {}

    /** Waits for ever, while other threads serve; returns when the thread is interrupted, and leaves it so. */
    public static final void joinThreadPool() {
        try {
            while (true) {
                Thread.sleep(Long.MAX_VALUE);
            }
        } catch (InterruptedException exception) {
            Thread.currentThread().interrupt();
        }
    }

    /** By which native code knows this object. */
    long id() {
        return id;
    }

    /**
     * A call from another process; called by native code. What it throws becomes the status UNKNOWN_ERROR.
     *
     * @param received the parcel that the bytes came in
     * @param hasToken whether they begin with the interface token
     * @return the reply, or null if there is no such code
     */
    private static OutgoingParcel execute(
            Binder target, int code, byte[] bytes, long received, boolean oneway, boolean hasToken) throws RemoteException {
        Parcel data = Parcel.obtain();
        Parcel reply = Parcel.obtain();
        int flags = oneway ? FLAG_ONEWAY : 0;
        try {
            data.receive(bytes, bytes.length, received);
            if (hasToken && (code < FIRST_CALL_TRANSACTION || code > LAST_CALL_TRANSACTION)) {
                // On Android such calls have no token, so nothing skips it.
                data.readString();
            }
            try {
                if (!target.onTransact(code, data, reply, flags)) {
                    recycle(reply);
                    return null;
                }
            } catch (RemoteException | RuntimeException exception) {
                if (oneway) {
                    Log.w(TAG, "thrown by " + target.getClass().getName() + ", whose caller does not wait", exception);
                } else {
                    recycle(reply);
                    reply = Parcel.obtain();
                    reply.writeException(exception);
                }
            }
            if (oneway) {
                recycle(reply);
                return OutgoingParcel.EMPTY;
            }
            try {
                return OutgoingParcel.of(reply);
            } catch (IllegalArgumentException exception) {
                recycle(reply);
                reply = Parcel.obtain();
                reply.writeException(exception);
                return OutgoingParcel.of(reply);
            }
        } catch (Throwable thrown) {
            Log.e(TAG, "a call of " + target.getClass().getName() + " failed", thrown);
            throw thrown;
        } finally {
            recycle(data);
        }
    }

    private static void recycle(Parcel parcel) {
        try {
            parcel.recycle();
        } catch (IllegalStateException exception) {
            // The object has done that.
        }
    }

    private static native int callingUid();

    private static native int callingPid();

    private static native long clearIdentity();

    private static native void restoreIdentity(long token);
}
