package ashmem.test;

import static ashmem.test.Assert.assertEquals;
import static ashmem.test.Assert.assertFalse;
import static ashmem.test.Assert.assertThrows;
import static ashmem.test.Assert.assertTrue;

import android.os.MemoryFile;
import android.os.ParcelFileDescriptor;
import android.os.SharedMemory;
import android.system.ErrnoException;
import android.system.OsConstants;
import java.io.File;
import java.io.IOException;
import java.io.InputStream;
import java.nio.ByteBuffer;

/** Purges, and memory of another process. */
final class MemoryPeerTest {
    private static final int PAGE = 4096;

    /** Opens memory of the peer, through {@code /proc}. */
    private static ParcelFileDescriptor open(String request) throws IOException {
        return ParcelFileDescriptor.open(new File(MemoryPeer.ask(request)), ParcelFileDescriptor.MODE_READ_WRITE);
    }

    private static String path(int fd) {
        return "/proc/" + ProcessHandle.current().pid() + "/fd/" + fd;
    }

    private static long purge(MemoryFile file) throws IOException {
        try (ParcelFileDescriptor descriptor = file.getParcelFileDescriptor()) {
            return Long.parseLong(MemoryPeer.ask("purge " + path(descriptor.getFd())));
        }
    }

    private static byte[] filled(int length, int value) {
        byte[] bytes = new byte[length];
        java.util.Arrays.fill(bytes, (byte) value);
        return bytes;
    }

    private static int read(MemoryFile file, int offset) throws IOException {
        byte[] one = new byte[1];
        file.readBytes(one, offset, 0, 1);
        return one[0];
    }

    private static void assertPurged(Assert.Action action) {
        assertEquals("MemoryFile has been purged", assertThrows(IOException.class, action).getMessage());
    }

    @Test
    void nothingIsPurgedUntilThatIsAllowed() throws IOException {
        MemoryFile file = new MemoryFile("pinned", 3 * PAGE);
        file.writeBytes(filled(3 * PAGE, 5), 0, 0, 3 * PAGE);
        assertEquals(0L, purge(file));
        assertFalse(file.allowPurging(true));
        assertTrue(file.allowPurging(false));
        assertEquals(0L, purge(file));
        assertEquals(5, read(file, 2 * PAGE));
        file.close();
    }

    @Test
    void purgedItFailsUntilItIsWritten() throws IOException {
        MemoryFile file = new MemoryFile("purged", 3 * PAGE);
        file.writeBytes(filled(3 * PAGE, 5), 0, 0, 3 * PAGE);
        file.allowPurging(true);
        InputStream input = file.getInputStream();
        assertEquals(5, input.read());
        assertEquals(3L * PAGE, purge(file));
        for (int i = 0; i < 3; i++) {
            assertPurged(() -> read(file, 0));
            assertPurged(() -> file.readBytes(new byte[0], 0, 0, 0));
            assertPurged(() -> file.readBytes(new byte[3 * PAGE], 0, 0, 3 * PAGE));
            assertPurged(input::read);
        }
        byte[] buffer = filled(1, 9);
        assertPurged(() -> file.readBytes(buffer, 0, 0, 1));
        assertEquals(9, buffer[0]);
        file.writeBytes(buffer, 0, 0, 0);
        assertPurged(() -> read(file, 0));
        assertThrows(IndexOutOfBoundsException.class, () -> file.writeBytes(buffer, 0, 3 * PAGE, 1));
        assertPurged(() -> read(file, 0));
        file.writeBytes(buffer, 0, PAGE, 1);
        assertEquals(9, read(file, PAGE));
        assertEquals(0, read(file, 0));
        assertEquals(0, read(file, 3 * PAGE - 1));
        assertEquals(0, input.read());
        assertTrue(purge(file) > 0);
        file.writeBytes(filled(3 * PAGE, 6), 0, 0, 3 * PAGE);
        assertEquals(6, read(file, 3 * PAGE - 1));
        file.close();
    }

    @Test
    void switchingPurgingOffEndsIt() throws IOException {
        MemoryFile file = new MemoryFile("purged", PAGE);
        file.getOutputStream().write(filled(PAGE, 5));
        file.allowPurging(true);
        assertTrue(purge(file) > 0);
        assertPurged(() -> read(file, 0));
        assertTrue(file.allowPurging(false));
        assertEquals(0, read(file, 0));
        file.writeBytes(filled(PAGE, 5), 0, 0, PAGE);
        file.allowPurging(true);
        assertEquals(5, read(file, 0));
        file.close();
    }

    @Test
    void aReceiverSeesWhatThePeerWrites() throws IOException {
        MemoryFile file;
        try (ParcelFileDescriptor received = open("region 10000")) {
            file = new MemoryFile(received.getFileDescriptor(), 10000, "r");
            assertEquals(10000, MemoryFile.getSize(received.getFileDescriptor()));
        }
        assertEquals(0, read(file, 9999));
        MemoryPeer.ask("write " + path(Integer.parseInt(number(file))) + " 9998 7 77");
        assertEquals(7, read(file, 9998));
        assertEquals(77, read(file, 9999));
        file.close();
    }

    private static String number(MemoryFile file) throws IOException {
        // A descriptor that stays open as long as the file.
        try (ParcelFileDescriptor duplicate = ParcelFileDescriptor.dup(file.getFileDescriptor())) {
            return String.valueOf(duplicate.detachFd());
        }
    }

    @Test
    void thePeerSeesWhatIsWritten() throws Exception {
        MemoryFile file = new MemoryFile("ours", 10000);
        file.writeBytes(new byte[] {1, -2, 3}, 0, 9000, 3);
        try (ParcelFileDescriptor sent = file.getParcelFileDescriptor()) {
            assertEquals("10000 1 254 3 0", MemoryPeer.ask("read " + path(sent.getFd()) + " 9000 4"));
        }
        SharedMemory memory = SharedMemory.create("ours", 10000);
        ByteBuffer buffer = memory.mapReadWrite();
        buffer.putInt(5000, 0x01020304);
        assertEquals("10000 1 2 3 4", MemoryPeer.ask("read " + path(memory.getFd()) + " 5000 4"));
        MemoryPeer.ask("write " + path(memory.getFd()) + " 5001 9 8");
        assertEquals(0x01090804, buffer.getInt(5000));
        memory.close();
        file.close();
    }

    @Test
    void protectionHoldsInBothProcesses() throws Exception {
        SharedMemory memory = SharedMemory.create("ours", 100);
        ByteBuffer older = memory.mapReadWrite();
        assertEquals("ok", MemoryPeer.ask("map " + path(memory.getFd())));
        assertTrue(memory.setProtect(OsConstants.PROT_READ));
        assertEquals("errno 1", MemoryPeer.ask("map " + path(memory.getFd())));
        older.put(0, (byte) 3);
        SharedMemory theirs = SharedMemory.fromFileDescriptor(open("region 100"));
        ByteBuffer written = theirs.mapReadWrite();
        assertEquals("ok", MemoryPeer.ask("protect " + path(theirs.getFd())));
        assertEquals(OsConstants.EPERM, assertThrows(ErrnoException.class, theirs::mapReadWrite).errno);
        assertFalse(theirs.setProtect(OsConstants.PROT_READ | OsConstants.PROT_WRITE));
        written.put(0, (byte) 8);
        assertEquals(8, theirs.mapReadOnly().get(0));
        theirs.close();
        memory.close();
    }

    @Test
    void aReadOnlyDescriptorCannotBeMappedForWriting() throws Exception {
        String path = MemoryPeer.ask("region 100");
        SharedMemory memory =
                SharedMemory.fromFileDescriptor(ParcelFileDescriptor.open(new File(path), ParcelFileDescriptor.MODE_READ_ONLY));
        assertEquals(OsConstants.EACCES, assertThrows(ErrnoException.class, memory::mapReadWrite).errno);
        assertEquals(0, memory.mapReadOnly().get(99));
        assertFalse(memory.setProtect(OsConstants.PROT_READ));
        memory.close();
    }

    @Test
    void memoryCannotShrinkOnceItIsMapped() throws Exception {
        String path = MemoryPeer.ask("memfd 8192");
        SharedMemory memory =
                SharedMemory.fromFileDescriptor(ParcelFileDescriptor.open(new File(path), ParcelFileDescriptor.MODE_READ_WRITE));
        ByteBuffer buffer = memory.mapReadWrite();
        assertEquals("errno 1", MemoryPeer.ask("truncate " + path + " 0"));
        buffer.put(8191, (byte) 3);
        byte[] all = new byte[8192];
        buffer.get(0, all);
        assertEquals(3, all[8191]);
        memory.close();
    }

    @Test
    void memoryThatShrinksBeforeItIsMappedIsRefused() throws Exception {
        String path = MemoryPeer.ask("memfd 8192");
        File file = new File(path);
        SharedMemory memory =
                SharedMemory.fromFileDescriptor(ParcelFileDescriptor.open(file, ParcelFileDescriptor.MODE_READ_WRITE));
        assertEquals("ok", MemoryPeer.ask("truncate " + path + " 4096"));
        assertThrows(ErrnoException.class, memory::mapReadOnly);
        memory.close();
        try (ParcelFileDescriptor received = ParcelFileDescriptor.open(file, ParcelFileDescriptor.MODE_READ_WRITE)) {
            assertThrows(IOException.class, () -> new MemoryFile(received.getFileDescriptor(), 8192, "r"));
            MemoryFile reader = new MemoryFile(received.getFileDescriptor(), 4096, "r");
            assertEquals("errno 1", MemoryPeer.ask("truncate " + path + " 0"));
            reader.readBytes(new byte[4096], 0, 0, 4096);
            reader.close();
        }
    }

    @Test
    void memoryThatCannotBeSealedIsRefused() throws Exception {
        String path = MemoryPeer.ask("unsealable 8192");
        SharedMemory memory =
                SharedMemory.fromFileDescriptor(ParcelFileDescriptor.open(new File(path), ParcelFileDescriptor.MODE_READ_WRITE));
        assertEquals(OsConstants.EPERM, assertThrows(ErrnoException.class, memory::mapReadWrite).errno);
        memory.close();
        try (ParcelFileDescriptor received = open("unsealable 8192")) {
            assertThrows(IOException.class, () -> new MemoryFile(received.getFileDescriptor(), 8192, "r"));
        }
        try (ParcelFileDescriptor received = open("tmpfs 8192")) {
            assertThrows(IllegalArgumentException.class, () -> new MemoryFile(received.getFileDescriptor(), 8192, "r"));
            assertThrows(IllegalArgumentException.class, () -> SharedMemory.fromFileDescriptor(received));
        }
    }

    @Test
    void memoryOfMoreThanTwoGibibytes() throws Exception {
        assertThrows(IllegalArgumentException.class, () -> SharedMemory.fromFileDescriptor(open("region 2147483648")));
        assertThrows(IllegalArgumentException.class, () -> SharedMemory.fromFileDescriptor(open("region 4294967297")));
        SharedMemory largest = SharedMemory.fromFileDescriptor(open("region 2147483647"));
        assertEquals(Integer.MAX_VALUE, largest.getSize());
        ByteBuffer buffer = largest.mapReadWrite();
        buffer.put(Integer.MAX_VALUE - 1, (byte) 1);
        assertEquals(1, largest.mapReadOnly().get(Integer.MAX_VALUE - 1));
        SharedMemory.unmap(buffer);
        largest.close();
        try (ParcelFileDescriptor received = open("region 4294967297")) {
            assertTrue(MemoryFile.isMemoryFile(received.getFileDescriptor()));
            assertThrows(IOException.class, () -> MemoryFile.getSize(received.getFileDescriptor()));
            MemoryFile start = new MemoryFile(received.getFileDescriptor(), 10, "r");
            assertEquals(0, read(start, 9));
            start.close();
        }
    }
}
