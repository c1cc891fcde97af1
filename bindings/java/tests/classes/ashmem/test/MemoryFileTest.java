package ashmem.test;

import static ashmem.test.Assert.assertEquals;
import static ashmem.test.Assert.assertFalse;
import static ashmem.test.Assert.assertSame;
import static ashmem.test.Assert.assertThrows;
import static ashmem.test.Assert.assertTrue;

import android.os.MemoryFile;
import android.os.ParcelFileDescriptor;
import android.os.SharedMemory;
import android.system.OsConstants;
import java.io.FileDescriptor;
import java.io.FileInputStream;
import java.io.IOException;
import java.io.InputStream;
import java.io.OutputStream;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Random;

final class MemoryFileTest {
    private static final int PAGE = 4096;

    private static MemoryFile file(int length) throws IOException {
        return new MemoryFile("Test File", length);
    }

    private static byte[] read(MemoryFile file, int offset, int count) throws IOException {
        byte[] bytes = new byte[count];
        assertEquals(count, file.readBytes(bytes, offset, 0, count));
        return bytes;
    }

    private static byte[] bytes(int... values) {
        byte[] bytes = new byte[values.length];
        for (int i = 0; i < values.length; i++) {
            bytes[i] = (byte) values[i];
        }
        return bytes;
    }

    @Test
    void hasALengthAndZeros() throws IOException {
        MemoryFile file = file(5000);
        assertEquals(5000, file.length());
        assertFalse(file.isDeactivated());
        assertFalse(file.isPurgingAllowed());
        assertEquals(new byte[5000], read(file, 0, 5000));
        file.close();
        assertEquals(5000, file.length());
    }

    @Test
    void nameIsALabel() throws IOException {
        MemoryFile file = new MemoryFile("the label", 1);
        assertTrue(Files.readString(Path.of("/proc/self/maps")).contains("the label"));
        file.close();
        new MemoryFile(null, 1).close();
        new MemoryFile("", 1).close();
        new MemoryFile("é落\ud83d\ude00", 1).close();
        assertThrows(IOException.class, () -> new MemoryFile("a\0b", 1));
        assertThrows(IOException.class, () -> new MemoryFile("n".repeat(250), 1));
    }

    @Test
    void lengthIsPositive() {
        for (int length : new int[] {0, -1, Integer.MIN_VALUE}) {
            assertThrows(IllegalArgumentException.class, () -> new MemoryFile("x", length));
        }
    }

    @Test
    void aFileOfTheLargestInt() throws IOException {
        MemoryFile file = file(Integer.MAX_VALUE);
        file.writeBytes(bytes(9), 0, Integer.MAX_VALUE - 1, 1);
        assertEquals(bytes(0, 9), read(file, Integer.MAX_VALUE - 2, 2));
        assertThrows(IndexOutOfBoundsException.class, () -> read(file, Integer.MAX_VALUE - 1, 2));
        file.close();
    }

    @Test
    void bytesComeBack() throws IOException {
        MemoryFile file = file(10);
        file.writeBytes("-text-".getBytes(), 1, 3, 4);
        assertEquals("\0\0\0text\0\0\0".getBytes(), read(file, 0, 10));
        byte[] buffer = "........".getBytes();
        assertEquals(4, file.readBytes(buffer, 3, 2, 4));
        assertEquals("..text..".getBytes(), buffer);
        assertEquals(0, file.readBytes(buffer, 10, 8, 0));
        file.writeBytes(buffer, 8, 10, 0);
        assertEquals("..text..".getBytes(), buffer);
        file.close();
    }

    @Test
    void randomAccessesAgreeWithAnArray() throws IOException {
        Random random = new Random(8);
        byte[] model = new byte[3 * PAGE + 5];
        MemoryFile file = file(model.length);
        for (int i = 0; i < 2000; i++) {
            int count = random.nextInt(random.nextBoolean() ? 40 : model.length);
            int offset = random.nextInt(model.length - count + 1);
            byte[] part = new byte[count + random.nextInt(9)];
            random.nextBytes(part);
            int start = random.nextInt(part.length - count + 1);
            if (random.nextBoolean()) {
                file.writeBytes(part, start, offset, count);
                System.arraycopy(part, start, model, offset, count);
            } else {
                byte[] expected = part.clone();
                System.arraycopy(model, offset, expected, start, count);
                file.readBytes(part, offset, start, count);
                assertEquals(expected, part);
            }
        }
        assertEquals(model, read(file, 0, model.length));
        file.close();
    }

    @Test
    void outOfBoundsNothingChanges() throws IOException {
        MemoryFile file = file(100);
        byte[] buffer = new byte[50];
        java.util.Arrays.fill(buffer, (byte) 7);
        byte[] before = buffer.clone();
        int max = Integer.MAX_VALUE;
        int min = Integer.MIN_VALUE;
        int[][] bad = { // of the file, of the buffer, count
            {0, 51, 0}, {0, 40, 11}, {0, 0, 51}, {0, max, 1}, {0, 1, max}, {0, max, max}, {0, -1, 1}, {0, 0, -1}, {0, 1, -1},
            {101, 0, 0}, {60, 0, 41}, {max, 0, 1}, {max, max, max}, {-1, 0, 1}, {-1, 0, 0}, {min, 0, 1}, {0, min, 1}, {0, 0, min},
            {0, min, min}, {min, min, min}, {50, 50, min},
        };
        for (int[] b : bad) {
            assertThrows(IndexOutOfBoundsException.class, () -> file.readBytes(buffer, b[0], b[1], b[2]));
            assertThrows(IndexOutOfBoundsException.class, () -> file.writeBytes(buffer, b[1], b[0], b[2]));
        }
        assertEquals(before, buffer);
        assertEquals(new byte[100], read(file, 0, 100));
        assertThrows(NullPointerException.class, () -> file.readBytes(null, 0, 0, 0));
        assertThrows(NullPointerException.class, () -> file.writeBytes(null, 0, 0, 0));
        file.close();
    }

    @Test
    void deactivatedItKeepsItsDescriptor() throws IOException {
        MemoryFile file = file(100);
        file.writeBytes(bytes(1, 2), 0, 0, 2);
        file.deactivate();
        file.deactivate();
        assertTrue(file.isDeactivated());
        IOException refused = assertThrows(IOException.class, () -> read(file, 0, 1));
        assertEquals("MemoryFile has been deactivated", refused.getMessage());
        assertThrows(IOException.class, () -> file.writeBytes(bytes(1), 0, 0, 1));
        // Android looks at that before the bounds.
        assertThrows(IOException.class, () -> read(file, 100, 1));
        assertThrows(IOException.class, () -> file.readBytes(new byte[1], 0, 0, 2));
        assertThrows(IOException.class, () -> file.getInputStream().read());
        assertThrows(IOException.class, () -> file.getOutputStream().write(1));
        assertEquals(1, new FileInputStream(file.getFileDescriptor()).read());
        MemoryFile twin = new MemoryFile(file.getFileDescriptor(), 100, "r");
        assertEquals(bytes(1, 2), read(twin, 0, 2));
        assertFalse(file.allowPurging(true));
        assertTrue(file.allowPurging(false));
        file.close();
        twin.close();
    }

    @Test
    void closedOnceAndForAll() throws IOException {
        MemoryFile file = file(100);
        file.writeBytes(bytes(1, 2), 0, 0, 2);
        FileDescriptor descriptor = file.getFileDescriptor();
        MemoryFile twin = new MemoryFile(descriptor, 100, "r");
        file.close();
        file.close();
        assertTrue(file.isDeactivated());
        assertFalse(descriptor.valid());
        assertThrows(IOException.class, () -> read(file, 0, 1));
        assertThrows(IOException.class, () -> file.writeBytes(bytes(1), 0, 0, 1));
        assertThrows(IOException.class, file::getFileDescriptor);
        assertThrows(IOException.class, file::getParcelFileDescriptor);
        assertThrows(IOException.class, () -> file.allowPurging(true));
        file.deactivate();
        assertFalse(file.isPurgingAllowed());
        assertEquals(bytes(1, 2), read(twin, 0, 2));
        twin.close();
    }

    @Test
    void aFileInputStreamReadsTheMemory() throws IOException {
        MemoryFile file = file(4);
        file.writeBytes(bytes(0xFF, 2, 3, 4), 0, 0, 4);
        FileDescriptor descriptor = file.getFileDescriptor();
        assertSame(descriptor, file.getFileDescriptor());
        FileInputStream stream = new FileInputStream(descriptor);
        assertEquals(bytes(0xFF, 2, 3, 4), stream.readAllBytes());
        // Who closes it closes neither the file nor a descriptor that has the number then.
        stream.close();
        assertFalse(descriptor.valid());
        FileDescriptor next = file.getFileDescriptor();
        assertTrue(next.valid());
        assertEquals(bytes(2), read(file, 1, 1));
        file.close();
        assertFalse(next.valid());
    }

    @Test
    void closingClosesStreamsOfTheDescriptor() throws IOException {
        MemoryFile file = file(4);
        FileInputStream stream = new FileInputStream(file.getFileDescriptor());
        FileInputStream second = new FileInputStream(file.getFileDescriptor());
        assertEquals(0, stream.read());
        file.close();
        assertThrows(IOException.class, stream::read);
        assertThrows(IOException.class, second::read);
        stream.close();
        second.close();
    }

    @Test
    void receivedForReading() throws IOException {
        MemoryFile file = file(2 * PAGE);
        file.writeBytes("text".getBytes(), 0, PAGE, 4);
        ParcelFileDescriptor sent = file.getParcelFileDescriptor();
        MemoryFile reader = new MemoryFile(sent.getFileDescriptor(), PAGE + 4, "r");
        // It has a descriptor of its own.
        sent.close();
        file.close();
        assertEquals(PAGE + 4, reader.length());
        assertEquals("text".getBytes(), read(reader, PAGE, 4));
        assertThrows(IndexOutOfBoundsException.class, () -> read(reader, PAGE + 1, 4));
        assertThrows(IOException.class, () -> reader.writeBytes(bytes(1), 0, 0, 1));
        assertThrows(IndexOutOfBoundsException.class, () -> reader.writeBytes(bytes(1), 0, PAGE + 4, 1));
        assertThrows(IOException.class, () -> reader.allowPurging(true));
        assertThrows(IOException.class, () -> reader.allowPurging(false));
        assertFalse(reader.isPurgingAllowed());
        assertTrue(MemoryFile.isMemoryFile(reader.getFileDescriptor()));
        reader.close();
        assertThrows(IOException.class, () -> read(reader, 0, 1));
    }

    @Test
    void whatCannotBeReceived() throws Exception {
        MemoryFile file = file(100);
        FileDescriptor descriptor = file.getFileDescriptor();
        assertThrows(NullPointerException.class, () -> new MemoryFile(null, 100, "r"));
        for (String mode : new String[] {"rw", "w", "", "R", null}) {
            assertThrows(IllegalArgumentException.class, () -> new MemoryFile(descriptor, 100, mode));
        }
        for (int length : new int[] {0, -1, Integer.MIN_VALUE}) {
            assertThrows(IllegalArgumentException.class, () -> new MemoryFile(descriptor, length, "r"));
        }
        for (int length : new int[] {101, Integer.MAX_VALUE}) {
            assertThrows(IOException.class, () -> new MemoryFile(descriptor, length, "r"));
        }
        Path path = Files.createTempFile("ashmem", "test");
        Files.write(path, new byte[200]);
        try (FileInputStream plain = new FileInputStream(path.toFile())) {
            assertThrows(IllegalArgumentException.class, () -> new MemoryFile(plain.getFD(), 100, "r"));
        }
        Files.delete(path);
        ParcelFileDescriptor[] pipe = ParcelFileDescriptor.createPipe();
        assertThrows(IllegalArgumentException.class, () -> new MemoryFile(pipe[0].getFileDescriptor(), 100, "r"));
        pipe[0].close();
        pipe[1].close();
        assertThrows(IOException.class, () -> new MemoryFile(new FileDescriptor(), 100, "r"));
        SharedMemory writeOnly = SharedMemory.create("no reading", 100);
        assertTrue(writeOnly.setProtect(OsConstants.PROT_WRITE));
        ParcelFileDescriptor unreadable = writeOnly.getFdDup();
        assertThrows(IOException.class, () -> new MemoryFile(unreadable.getFileDescriptor(), 100, "r"));
        unreadable.close();
        writeOnly.close();
        file.close();
        assertThrows(IOException.class, () -> new MemoryFile(descriptor, 100, "r"));
    }

    @Test
    void descriptorsTellWhatTheyAre() throws IOException {
        MemoryFile file = file(1000);
        FileDescriptor descriptor = file.getFileDescriptor();
        assertTrue(MemoryFile.isMemoryFile(descriptor));
        assertEquals(1000, MemoryFile.getSize(descriptor));
        assertFalse(file.allowPurging(true));
        assertEquals(1000, MemoryFile.getSize(descriptor));
        ParcelFileDescriptor[] pipe = ParcelFileDescriptor.createPipe();
        assertFalse(MemoryFile.isMemoryFile(pipe[0].getFileDescriptor()));
        assertEquals(-1, MemoryFile.getSize(pipe[0].getFileDescriptor()));
        pipe[0].close();
        pipe[1].close();
        file.close();
        assertThrows(IOException.class, () -> MemoryFile.isMemoryFile(descriptor));
        assertThrows(IOException.class, () -> MemoryFile.getSize(new FileDescriptor()));
        assertThrows(NullPointerException.class, () -> MemoryFile.isMemoryFile(null));
        assertThrows(NullPointerException.class, () -> MemoryFile.getSize(null));
    }

    @Test
    void allowPurgingTellsTheOldSetting() throws IOException {
        MemoryFile file = file(100);
        file.writeBytes(bytes(1), 0, 0, 1);
        assertFalse(file.allowPurging(false));
        assertFalse(file.allowPurging(true));
        assertTrue(file.isPurgingAllowed());
        assertTrue(file.allowPurging(true));
        assertEquals(bytes(1), read(file, 0, 1));
        assertTrue(file.allowPurging(false));
        assertFalse(file.isPurgingAllowed());
        assertEquals(bytes(1), read(file, 0, 1));
        file.close();
    }

    @Test
    void inputStream() throws IOException {
        MemoryFile file = file(6);
        file.writeBytes(bytes(1, 255, 3, 4, 5, 128), 0, 0, 6);
        InputStream input = file.getInputStream();
        assertEquals(6, input.available());
        assertEquals(1, input.read());
        assertEquals(255, input.read());
        assertTrue(input.markSupported());
        input.mark(0);
        assertEquals(2, input.skip(2));
        assertEquals(0, input.skip(-5));
        assertEquals(5, input.read());
        assertEquals(128, input.read());
        assertEquals(-1, input.read());
        assertEquals(-1, input.read(new byte[3]));
        assertEquals(0, input.read(new byte[0]));
        assertEquals(0, input.available());
        assertEquals(0, input.skip(Long.MAX_VALUE));
        input.reset();
        byte[] buffer = new byte[10];
        assertEquals(4, input.read(buffer, 3, 7));
        assertEquals(bytes(0, 0, 0, 3, 4, 5, 128, 0, 0, 0), buffer);
        input.reset();
        assertEquals(4, input.skip(Long.MAX_VALUE));
        assertThrows(IndexOutOfBoundsException.class, () -> input.read(buffer, 3, 8));
        assertThrows(IndexOutOfBoundsException.class, () -> input.read(buffer, -1, 1));
        assertThrows(IndexOutOfBoundsException.class, () -> input.read(buffer, 0, -1));
        assertEquals(bytes(1, 255, 3, 4, 5, 128), file.getInputStream().readAllBytes());
        file.close();
    }

    @Test
    void outputStream() throws IOException {
        MemoryFile file = file(6);
        OutputStream output = file.getOutputStream();
        output.write(255);
        output.write(bytes(9, 2, 3, 9), 1, 2);
        assertThrows(IndexOutOfBoundsException.class, () -> output.write(bytes(4, 5, 6, 7)));
        assertThrows(IndexOutOfBoundsException.class, () -> output.write(bytes(4), 0, 2));
        output.write(bytes(4, 5, 6));
        assertThrows(IndexOutOfBoundsException.class, () -> output.write(7));
        output.write(new byte[0]);
        output.flush();
        output.close();
        assertEquals(bytes(255, 2, 3, 4, 5, 6), read(file, 0, 6));
        file.close();
    }
}
