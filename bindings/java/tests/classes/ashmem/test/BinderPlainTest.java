package ashmem.test;

import static ashmem.test.Assert.assertEquals;
import static ashmem.test.Assert.assertFalse;
import static ashmem.test.Assert.assertSame;
import static ashmem.test.Assert.assertThrows;
import static ashmem.test.Assert.assertTrue;

import android.os.Binder;
import android.os.IBinder;
import android.os.MemoryFile;
import android.os.Parcel;
import android.os.ParcelFileDescriptor;
import android.os.RemoteException;
import android.os.ServiceManager;
import java.nio.charset.StandardCharsets;

/** Calls of an object without an interface, in another process. */
final class BinderPlainTest {
    private final IBinder service = ServiceManager.getService(BinderPlainService.SERVICE);
    private final Parcel data = Parcel.obtain();
    private final Parcel reply = Parcel.obtain();

    @Test
    void aTextInSharedMemory() throws Exception {
        byte[] bytes = "落霞与孤鹜齐飞，秋水共长天一色。".getBytes(StandardCharsets.UTF_8);
        MemoryFile file = new MemoryFile("TestAshmemFile", 1024);
        file.writeBytes(bytes, 0, 0, bytes.length);
        try (ParcelFileDescriptor descriptor = ParcelFileDescriptor.dup(file.getFileDescriptor())) {
            data.writeParcelable(descriptor, 0);
            data.writeInt(bytes.length);
            assertTrue(service.transact(BinderPlainService.TEXT, data, reply, 0));
        }
        assertEquals("read: " + new String(bytes, StandardCharsets.UTF_8), reply.readString());
        file.close();
    }

    @Test
    void anObjectIsTheFirstThing() throws Exception {
        Binder own = new Binder();
        data.writeStrongBinder(own);
        data.writeInt(7);
        assertTrue(service.transact(BinderPlainService.BACK, data, reply, 0));
        assertSame(own, reply.readStrongBinder());
        assertEquals(4, reply.readInt());
    }

    @Test
    void whatEveryObjectAnswers() throws Exception {
        assertEquals("", service.getInterfaceDescriptor());
        assertTrue(service.pingBinder());
        service.dump(java.io.FileDescriptor.err, new String[0]);
        assertFalse(service.transact(1, data, reply, 0));
    }

    /** All of them come in on two threads, whose stacks have an end. */
    @Test
    void twoCallEachOther() throws Exception {
        Binder own = new BinderPlainService();
        for (int depth : new int[] {1, 10}) {
            assertEquals(depth, BinderPlainService.callEachOther(service, own, depth));
        }
        assertThrows(RemoteException.class, () -> BinderPlainService.callEachOther(service, own, 100_000));
        assertEquals(10, BinderPlainService.callEachOther(service, own, 10));
    }

    @Test
    void moreDescriptorsThanAMessageTakes() throws Exception {
        try (ParcelFileDescriptor descriptor = ParcelFileDescriptor.dup(java.io.FileDescriptor.err)) {
            for (int index = 0; index < 65; index++) {
                data.writeFileDescriptor(descriptor.getFileDescriptor());
            }
        }
        assertThrows(IllegalArgumentException.class, () -> service.transact(BinderPlainService.TEXT, data, reply, 0));
    }

    @Test
    void aTokenIsNoneOfItsOwn() {
        data.writeInterfaceToken("ashmem.test.Other");
        assertThrows(IllegalArgumentException.class, () -> service.transact(BinderPlainService.TEXT, data, reply, 0));
    }
}
