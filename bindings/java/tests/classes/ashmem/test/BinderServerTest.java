package ashmem.test;

import static ashmem.test.Assert.assertEquals;
import static ashmem.test.Assert.assertFalse;
import static ashmem.test.Assert.assertSame;
import static ashmem.test.Assert.assertThrows;
import static ashmem.test.Assert.assertTrue;
import static ashmem.test.BinderCalls.call;
import static ashmem.test.BinderCalls.service;

import android.os.BadParcelableException;
import android.os.DeadObjectException;
import android.os.IBinder;
import android.os.Parcel;
import android.os.ParcelFileDescriptor;
import android.os.RemoteException;

/** What a service in Java may do wrong, seen by its client; and what only Java sends. */
final class BinderServerTest {
    private final IBinder service = service();

    @Test
    void bareDescriptors() throws Exception {
        call(service, BinderCodes.BARE, data -> {}, reply -> {
            ParcelFileDescriptor in = reply.readFileDescriptor();
            assertEquals(42, reply.readInt());
            ParcelFileDescriptor out = reply.readFileDescriptor();
            assertEquals(43L, reply.readLong());
            reply.readFileDescriptor().close();
            reply.readFileDescriptor().close();
            assertEquals(0, reply.dataAvail());
            try (var to = new ParcelFileDescriptor.AutoCloseOutputStream(out)) {
                to.write(3);
            }
            try (var from = new ParcelFileDescriptor.AutoCloseInputStream(in)) {
                assertEquals(3, from.read());
                assertEquals(-1, from.read());
            }
            // Read once, or no descriptor.
            for (int position : new int[] {4, 16, 12, 0, 40, 1 << 20}) {
                reply.setDataPosition(position);
                assertThrows(BadParcelableException.class, reply::readFileDescriptor);
                assertThrows(BadParcelableException.class, reply::readStrongBinder);
            }
            reply.setDataPosition(12);
            assertEquals(42, reply.readInt());
            return null;
        });
    }

    @Test
    void aDescriptorBetweenOthersIsRefused() throws Exception {
        call(service, BinderCodes.BARE_ROW, data -> {}, reply -> {
            reply.setDataPosition(12);
            var thrown = assertThrows(BadParcelableException.class, reply::readFileDescriptor);
            assertTrue(thrown.getMessage().contains("between"));
            reply.setDataPosition(20);
            reply.readFileDescriptor().close();
            return null;
        });
        answers();
    }

    @Test
    void aReplyThatIsTooLarge() throws Exception {
        assertThrows(DeadObjectException.class, () -> call(service, BinderCodes.LARGE));
        assertTrue(service.isBinderAlive());
        answers();
    }

    @Test
    void errorsAreStatuses() throws Exception {
        assertThrows(RemoteException.class, () -> call(service, BinderCodes.THROW_ERROR));
        // One that cannot be written.
        assertThrows(RemoteException.class,
                () -> call(service, BinderCodes.FAIL, data -> data.writeInt(1000), reply -> null));
        answers();
    }

    @Test
    void parcelsOfItsOwn() throws Exception {
        assertThrows(RemoteException.class, () -> call(service, BinderCodes.RECYCLE));
        call(service, BinderCodes.KEEP_DATA, data -> data.writeStrongBinder(new BinderCallback()), reply -> null);
        assertEquals("IllegalStateException",
                call(service, BinderCodes.READ_KEPT_DATA, data -> {}, Parcel::readString));
        answers();
    }

    @Test
    void identityIsClearedAndRestored() throws Exception {
        int own = call(service, BinderCodes.OWN_PID, data -> {}, Parcel::readInt);
        call(service, BinderCodes.IDENTITY, data -> {}, reply -> {
            int uid = reply.readInt();
            assertEquals(own, reply.readInt());
            assertEquals(uid, reply.readInt());
            assertEquals((int) ProcessHandle.current().pid(), reply.readInt());
            return null;
        });
    }

    @Test
    void flagsArrive() throws Exception {
        BinderCallback callback = new BinderCallback();
        call(service, BinderCodes.KEEP, data -> data.writeStrongBinder(callback), reply -> null);
        Parcel data = Parcel.obtain();
        data.writeInterfaceToken(BinderCodes.DESCRIPTOR);
        assertTrue(service.transact(BinderCodes.FLAGS, data, null, IBinder.FLAG_ONEWAY));
        assertEquals(IBinder.FLAG_ONEWAY, callback.next());
        assertTrue(service.transact(BinderCodes.FLAGS, data, null, 0));
        assertEquals(0, callback.next());
        call(service, BinderCodes.FORGET);
    }

    @Test
    void failsOneWay() throws Exception {
        for (int code : new int[] {BinderCodes.THROW_ERROR, BinderCodes.RECYCLE, BinderCodes.FAIL, 98}) {
            BinderCalls.send(service, code, data -> data.writeInt(1));
        }
        answers();
    }

    @Test
    void sentButNotRead() throws Exception {
        BinderCallback callback = new BinderCallback();
        int before = BinderCalls.counts()[1];
        for (int turn = 0; turn < 100; turn++) {
            ParcelFileDescriptor[] pipe = ParcelFileDescriptor.createPipe();
            call(service, BinderCodes.BYTES, data -> {
                data.writeByteArray(new byte[turnSize()]);
                data.writeStrongBinder(callback);
                data.writeFileDescriptor(pipe[0].getFileDescriptor());
            }, reply -> null);
            pipe[0].close();
            // Nobody has the other end.
            try (var out = new ParcelFileDescriptor.AutoCloseOutputStream(pipe[1])) {
                assertThrows(java.io.IOException.class, () -> out.write(1));
            }
        }
        BinderCalls.await(() -> BinderCalls.counts()[1] <= before);
    }

    private static int turnSize() {
        return 13;
    }

    private void answers() throws Exception {
        byte[] bytes = {1, 2};
        assertEquals(bytes, call(service, BinderCodes.BYTES, data -> data.writeByteArray(bytes), Parcel::createByteArray));
        assertFalse(bytes == null);
        assertSame(service, service());
    }
}
