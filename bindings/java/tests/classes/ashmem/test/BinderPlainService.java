package ashmem.test;

import android.os.Binder;
import android.os.IBinder;
import android.os.Parcel;
import android.os.ParcelFileDescriptor;
import android.os.RemoteException;
import android.os.ServiceManager;
import java.io.FileInputStream;
import java.io.IOException;
import java.nio.charset.StandardCharsets;

/** An object without an interface, whose callers write no token: it reads a text in memory that it is sent, as the fifth seed's. */
final class BinderPlainService extends Binder {
    static final String SERVICE = "plain";
    static final int TEXT = 920511;
    static final int BACK = TEXT + 1;
    static final int DEEPER = TEXT + 2;

    public static void main(String[] arguments) throws IOException {
        ServiceManager.addService(SERVICE, new BinderPlainService());
        System.out.println("ready");
        System.out.flush();
        while (System.in.read() >= 0) {
            // Until it ends.
        }
        System.exit(0);
    }

    @Override
    protected boolean onTransact(int code, Parcel data, Parcel reply, int flags) throws RemoteException {
        boolean parent = super.onTransact(code, data, reply, flags);
        if (code == TEXT) {
            ParcelFileDescriptor descriptor = data.readParcelable(getClass().getClassLoader());
            if (descriptor == null) {
                return parent;
            }
            int size = data.readInt();
            byte[] bytes = new byte[size];
            try (descriptor; FileInputStream input = new FileInputStream(descriptor.getFileDescriptor())) {
                if (input.read(bytes) != size) {
                    return parent;
                }
            } catch (IOException exception) {
                throw new IllegalStateException(exception);
            }
            reply.writeString("read: " + new String(bytes, StandardCharsets.UTF_8));
            return true;
        }
        if (code == BACK) {
            // Objects at the very beginning.
            IBinder binder = data.readStrongBinder();
            reply.writeStrongBinder(binder);
            reply.writeInt(data.dataAvail());
            return true;
        }
        if (code == DEEPER) {
            IBinder other = data.readStrongBinder();
            int left = data.readInt();
            reply.writeInt(left == 0 ? 0 : 1 + callEachOther(other, this, left - 1));
            return true;
        }
        return parent;
    }

    /** How many of these calls there were, each made in the one before it. */
    static int callEachOther(IBinder called, Binder caller, int left) throws RemoteException {
        Parcel data = Parcel.obtain();
        Parcel reply = Parcel.obtain();
        try {
            data.writeStrongBinder(caller);
            data.writeInt(left);
            called.transact(DEEPER, data, reply, 0);
            return reply.readInt();
        } finally {
            data.recycle();
            reply.recycle();
        }
    }
}
