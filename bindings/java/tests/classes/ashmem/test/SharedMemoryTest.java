package ashmem.test;

import static ashmem.test.Assert.assertEquals;
import static ashmem.test.Assert.assertFalse;
import static ashmem.test.Assert.assertThrows;
import static ashmem.test.Assert.assertTrue;

import android.os.BadParcelableException;
import android.os.MemoryFile;
import android.os.Parcel;
import android.os.ParcelFileDescriptor;
import android.os.Parcelable;
import android.os.SharedMemory;
import android.system.ErrnoException;
import android.system.OsConstants;
import java.io.FileDescriptor;
import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.ReadOnlyBufferException;
import java.nio.file.Files;
import java.nio.file.Path;

final class SharedMemoryTest {
    private static final int PAGE = 4096;
    private static final int READ = OsConstants.PROT_READ;
    private static final int WRITE = OsConstants.PROT_WRITE;
    private static final int EXEC = OsConstants.PROT_EXEC;

    private static SharedMemory memory(int size) throws ErrnoException {
        return SharedMemory.create("Test", size);
    }

    private static void assertErrno(int errno, Assert.Action action) {
        assertEquals(errno, assertThrows(ErrnoException.class, action).errno);
    }

    @Test
    void created() throws Exception {
        SharedMemory memory = SharedMemory.create("the label", 5000);
        assertEquals(5000, memory.getSize());
        Path link = Path.of("/proc/self/fd/" + memory.getFd());
        assertTrue(Files.readSymbolicLink(link).toString().contains("the label"));
        memory.close();
        SharedMemory.create(null, 1).close();
        for (int size : new int[] {0, -1, Integer.MIN_VALUE}) {
            assertThrows(IllegalArgumentException.class, () -> memory(size));
        }
        assertErrno(OsConstants.EINVAL, () -> SharedMemory.create("a\0b", 1));
        assertErrno(OsConstants.EINVAL, () -> SharedMemory.create("n".repeat(250), 1));
    }

    @Test
    void descriptorsAreClosedOnExec() throws Exception {
        SharedMemory memory = memory(1);
        MemoryFile file = new MemoryFile(null, 1);
        ParcelFileDescriptor dup = memory.getFdDup();
        ParcelFileDescriptor sent = file.getParcelFileDescriptor();
        ParcelFileDescriptor[] pipe = ParcelFileDescriptor.createPipe();
        ParcelFileDescriptor own = ParcelFileDescriptor.dup(file.getFileDescriptor());
        int[] numbers = {memory.getFd(), dup.getFd(), sent.getFd(), pipe[0].getFd(), pipe[1].getFd(), own.getFd()};
        for (int number : numbers) {
            String info = Files.readString(Path.of("/proc/self/fdinfo/" + number));
            String flags = info.substring(info.indexOf("flags:") + 6, info.indexOf("mnt_id")).trim();
            assertTrue((Integer.parseInt(flags, 8) & OsConstants.O_CLOEXEC) != 0);
        }
        for (ParcelFileDescriptor descriptor : new ParcelFileDescriptor[] {dup, sent, pipe[0], pipe[1], own}) {
            descriptor.close();
        }
        file.close();
        memory.close();
    }

    @Test
    void protectionOnlyShrinks() throws Exception {
        SharedMemory memory = memory(1);
        assertTrue(memory.setProtect(READ | WRITE | EXEC));
        assertTrue(memory.setProtect(READ));
        assertTrue(memory.setProtect(READ));
        assertFalse(memory.setProtect(READ | WRITE));
        assertTrue(memory.setProtect(OsConstants.PROT_NONE));
        assertFalse(memory.setProtect(READ));
        for (int prot : new int[] {8, -1, Integer.MIN_VALUE, 9}) {
            assertThrows(IllegalArgumentException.class, () -> memory.setProtect(prot));
        }
        memory.close();
        assertThrows(IllegalStateException.class, () -> memory.setProtect(READ));
        assertThrows(IllegalStateException.class, () -> memory.setProtect(-1));
    }

    @Test
    void mapped() throws Exception {
        SharedMemory memory = memory(3 * PAGE);
        ByteBuffer whole = memory.mapReadWrite();
        assertTrue(whole.isDirect());
        assertFalse(whole.isReadOnly());
        assertEquals(3 * PAGE, whole.capacity());
        assertEquals(0, whole.position());
        assertEquals(3 * PAGE, whole.limit());
        assertEquals(ByteOrder.BIG_ENDIAN, whole.order());
        whole.putInt(PAGE + 4, 0x01020304);
        ByteBuffer part = memory.map(READ | WRITE, PAGE, 9);
        assertEquals(9, part.capacity());
        assertEquals(1, part.get(4));
        part.put(8, (byte) 77);
        ByteBuffer readable = memory.mapReadOnly();
        assertTrue(readable.isReadOnly());
        assertTrue(readable.isDirect());
        assertEquals(77, readable.get(PAGE + 8));
        assertThrows(ReadOnlyBufferException.class, () -> readable.put(0, (byte) 1));
        memory.close();
        // Mappings survive it.
        whole.put(0, (byte) 5);
        assertEquals(5, readable.get(0));
        SharedMemory.unmap(whole);
        assertEquals(5, readable.get(0));
        SharedMemory.unmap(part);
        SharedMemory.unmap(readable);
    }

    @Test
    void mapChecksInAndroidsOrder() throws Exception {
        SharedMemory memory = memory(2 * PAGE);
        int max = Integer.MAX_VALUE;
        int min = Integer.MIN_VALUE;
        int[][] bad = {
            {8, 0, 1}, {-1, 0, 1}, {READ, -1, 1}, {READ, min, 1}, {READ, 0, 0}, {READ, 0, -1}, {READ, 0, min},
            {READ, 0, 2 * PAGE + 1}, {READ, PAGE, PAGE + 1}, {READ, 2 * PAGE, 1}, {READ, max, 1}, {READ, 1, max}, {READ, max, max}, {READ, min, min},
        };
        for (int[] b : bad) {
            assertThrows(IllegalArgumentException.class, () -> memory.map(b[0], b[1], b[2]));
        }
        assertErrno(OsConstants.EINVAL, () -> memory.map(READ, 1, 1));
        assertTrue(memory.setProtect(READ));
        assertErrno(OsConstants.EPERM, memory::mapReadWrite);
        assertErrno(OsConstants.EPERM, () -> memory.map(WRITE, 0, 1));
        SharedMemory.unmap(memory.mapReadOnly());
        assertTrue(memory.setProtect(OsConstants.PROT_NONE));
        assertErrno(OsConstants.EPERM, memory::mapReadOnly);
        memory.close();
        assertThrows(IllegalStateException.class, memory::mapReadOnly);
        assertThrows(IllegalStateException.class, memory::mapReadWrite);
        assertThrows(IllegalStateException.class, () -> memory.map(-1, -1, -1));
    }

    @Test
    void everyProtectionCanBeUsed() throws Exception {
        SharedMemory memory = memory(PAGE);
        memory.mapReadWrite().put(0, (byte) 1);
        for (int prot = 0; prot <= (READ | WRITE | EXEC); prot++) {
            ByteBuffer buffer;
            try {
                buffer = memory.map(prot, 0, 10);
            } catch (ErrnoException exception) {
                // Machines may forbid to execute.
                assertTrue((prot & EXEC) != 0);
                continue;
            }
            assertEquals((prot & WRITE) == 0, buffer.isReadOnly());
            assertEquals((prot & (READ | WRITE)) == 0 ? 0 : 1, buffer.get(0));
            SharedMemory.unmap(buffer);
        }
        memory.close();
    }

    @Test
    void closedOnceAndForAll() throws Exception {
        SharedMemory memory = memory(100);
        assertTrue(memory.getFd() >= 0);
        memory.close();
        memory.close();
        assertEquals(-1, memory.getFd());
        assertThrows(IllegalStateException.class, memory::getSize);
        assertThrows(IllegalStateException.class, memory::getFdDup);
        Parcel parcel = Parcel.obtain();
        assertThrows(IllegalStateException.class, () -> memory.writeToParcel(parcel, 0));
        assertEquals(0, parcel.dataSize());
        parcel.recycle();
        assertEquals(Parcelable.CONTENTS_FILE_DESCRIPTOR, memory.describeContents());
    }

    @Test
    void takesOverADescriptor() throws Exception {
        SharedMemory memory = memory(5000);
        memory.mapReadWrite().put(4999, (byte) 3);
        ParcelFileDescriptor sent = memory.getFdDup();
        int number = sent.getFd();
        FileDescriptor descriptor = sent.getFileDescriptor();
        SharedMemory received = SharedMemory.fromFileDescriptor(sent);
        assertEquals(number, received.getFd());
        assertEquals(5000, received.getSize());
        assertEquals(3, received.mapReadOnly().get(4999));
        assertFalse(descriptor.valid());
        assertThrows(IllegalStateException.class, sent::getFd);
        sent.close();
        assertEquals(5000, received.getSize());
        assertThrows(IllegalStateException.class, () -> SharedMemory.fromFileDescriptor(sent));
        assertThrows(NullPointerException.class, () -> SharedMemory.fromFileDescriptor(null));
        ParcelFileDescriptor[] pipe = ParcelFileDescriptor.createPipe();
        FileDescriptor end = pipe[0].getFileDescriptor();
        assertThrows(IllegalArgumentException.class, () -> SharedMemory.fromFileDescriptor(pipe[0]));
        assertFalse(end.valid());
        assertThrows(IllegalStateException.class, pipe[0]::getFd);
        pipe[1].close();
        Path path = Files.createTempFile("ashmem", "test");
        Files.write(path, new byte[5000]);
        ParcelFileDescriptor plain = ParcelFileDescriptor.open(path.toFile(), ParcelFileDescriptor.MODE_READ_WRITE);
        assertThrows(IllegalArgumentException.class, () -> SharedMemory.fromFileDescriptor(plain));
        Files.delete(path);
        received.close();
        memory.close();
    }

    @Test
    void travelsInAParcel() throws Exception {
        SharedMemory memory = memory(5000);
        assertTrue(memory.setProtect(READ));
        for (int flags : new int[] {0, Parcelable.PARCELABLE_WRITE_RETURN_VALUE}) {
            Parcel parcel = Parcel.obtain();
            memory.writeToParcel(parcel, flags);
            parcel.setDataPosition(0);
            SharedMemory received = SharedMemory.CREATOR.createFromParcel(parcel);
            assertEquals(5000, received.getSize());
            assertErrno(OsConstants.EPERM, received::mapReadWrite);
            received.close();
            parcel.recycle();
            assertEquals(5000, memory.getSize());
        }
        memory.close();
        assertEquals(3, SharedMemory.CREATOR.newArray(3).length);
    }

    @Test
    void aParcelWithSomethingElse() throws Exception {
        ParcelFileDescriptor[] pipe = ParcelFileDescriptor.createPipe();
        Parcel parcel = Parcel.obtain();
        pipe[0].writeToParcel(parcel, 0);
        parcel.setDataPosition(0);
        assertThrows(BadParcelableException.class, () -> SharedMemory.CREATOR.createFromParcel(parcel));
        parcel.setDataPosition(0);
        parcel.setDataSize(0);
        parcel.writeInt(1);
        pipe[1].writeToParcel(parcel, 0);
        parcel.setDataPosition(0);
        assertThrows(BadParcelableException.class, () -> SharedMemory.CREATOR.createFromParcel(parcel));
        parcel.recycle();
        pipe[0].close();
        pipe[1].close();
    }

    @Test
    void aMemoryFileOfTheSameRegion() throws IOException, ErrnoException {
        SharedMemory memory = memory(100);
        ByteBuffer buffer = memory.mapReadWrite();
        buffer.put(99, (byte) 8);
        ParcelFileDescriptor sent = memory.getFdDup();
        MemoryFile file = new MemoryFile(sent.getFileDescriptor(), 100, "r");
        byte[] read = new byte[1];
        file.readBytes(read, 99, 0, 1);
        assertEquals(8, read[0]);
        sent.close();
        file.close();
        memory.close();
    }
}
