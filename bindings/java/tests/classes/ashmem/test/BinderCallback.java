package ashmem.test;

import android.os.Binder;
import android.os.Parcel;
import android.os.RemoteException;
import java.util.concurrent.BlockingQueue;
import java.util.concurrent.LinkedBlockingQueue;
import java.util.concurrent.TimeUnit;

/** An object that the service calls. */
final class BinderCallback extends Binder {
    final BlockingQueue<Integer> told = new LinkedBlockingQueue<>();
    volatile Thread calledOn;
    volatile int flags;

    BinderCallback() {
        super(BinderCodes.CALLBACK);
    }

    @Override
    protected boolean onTransact(int code, Parcel data, Parcel reply, int flags) throws RemoteException {
        calledOn = Thread.currentThread();
        this.flags = flags;
        switch (code) {
            case BinderCodes.ADD_ONE: {
                data.enforceInterface(BinderCodes.CALLBACK);
                int value = data.readInt();
                reply.writeNoException();
                reply.writeInt(value + 1);
                return true;
            }
            case BinderCodes.TOLD: {
                data.enforceInterface(BinderCodes.CALLBACK);
                told.add(data.readInt());
                return true;
            }
            default:
                return super.onTransact(code, data, reply, flags);
        }
    }

    int next() throws InterruptedException {
        Integer next = told.poll(30, TimeUnit.SECONDS);
        if (next == null) {
            throw new AssertionError("not told");
        }
        return next;
    }
}
