package ashmem.test;

import static ashmem.test.Assert.assertThrows;
import static ashmem.test.Assert.assertTrue;

import android.os.MemoryFile;
import android.os.ParcelFileDescriptor;
import android.os.SharedMemory;
import java.io.FileDescriptor;
import java.nio.ByteBuffer;

/**
 * Uses of the native library where there is none that works: each one fails, the second time as the first. The property
 * {@code ashmem.test.expected} is a part of what all of them say; without it they have to succeed.
 */
final class UseLibraryTest {
    @Test
    void everyUseIsTheSame() throws Throwable {
        Assert.Action[] uses = {
            () -> new MemoryFile("used", 1).close(),
            () -> SharedMemory.create("used", 1).close(),
            () -> ParcelFileDescriptor.createPipe()[0].close(),
            () -> ParcelFileDescriptor.dup(FileDescriptor.in).close(),
        };
        String expected = System.getProperty("ashmem.test.expected");
        for (int round = 0; round < 3; round++) {
            for (Assert.Action use : uses) {
                if (expected == null) {
                    use.run();
                    continue;
                }
                String message = assertThrows(UnsatisfiedLinkError.class, use).getMessage();
                if (!message.contains(expected)) {
                    throw new AssertionError(message);
                }
            }
        }
        // What needs no library works without it.
        assertThrows(IllegalArgumentException.class, () -> SharedMemory.unmap(ByteBuffer.allocate(1)));
        assertThrows(IllegalArgumentException.class, () -> SharedMemory.create("used", 0));
        assertTrue(ParcelFileDescriptor.parseMode("r") != 0);
    }
}
