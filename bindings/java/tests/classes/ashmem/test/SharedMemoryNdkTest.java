package ashmem.test;

import static ashmem.test.Assert.assertEquals;
import static ashmem.test.Assert.assertThrows;

import android.os.MemoryFile;
import android.os.ParcelFileDescriptor;
import android.os.SharedMemory;
import java.nio.ByteBuffer;

/** {@code ASharedMemory_dupFromJava}, called by a library in C, which the property {@code ashmem.test.ndk} names. */
final class SharedMemoryNdkTest {
    private static native int dup(Object memory);

    /** With an exception that is thrown already. */
    private static native int dupAndThrow(Object memory);

    @Test
    void duplicatesWhatIsOpen() throws Exception {
        SharedMemory memory = SharedMemory.create("ndk", 5000);
        ByteBuffer buffer = memory.mapReadWrite();
        buffer.put(4999, (byte) 7);
        // Linked against ours, which is loaded now.
        System.load(System.getProperty("ashmem.test.ndk"));
        for (int round = 0; round < 1000; round++) {
            SharedMemory twin = SharedMemory.fromFileDescriptor(ParcelFileDescriptor.adoptFd(dup(memory)));
            assertEquals(5000, twin.getSize());
            if (round == 0) {
                assertEquals(7, twin.mapReadOnly().get(4999));
            }
            twin.close();
        }
        Object[] others = {null, "text", new Object(), new int[1], buffer, new MemoryFile(null, 1), SharedMemory.class};
        for (Object other : others) {
            assertEquals(-1, dup(other));
        }
        assertThrows(IllegalStateException.class, () -> dupAndThrow(memory));
        memory.close();
        assertEquals(-1, dup(memory));
    }
}
