package ashmem.test;

import static ashmem.test.Assert.assertEquals;
import static ashmem.test.Assert.assertThrows;
import static ashmem.test.Assert.assertTrue;

import android.os.SharedMemory;
import android.system.OsConstants;
import java.nio.BufferOverflowException;
import java.nio.BufferUnderflowException;
import java.nio.ByteBuffer;
import java.nio.channels.FileChannel;
import java.nio.charset.StandardCharsets;
import java.nio.file.Path;
import java.nio.file.StandardOpenOption;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.atomic.AtomicBoolean;
import java.util.concurrent.atomic.AtomicReference;
import java.util.zip.Adler32;
import java.util.zip.CRC32;
import java.util.zip.CRC32C;
import java.util.zip.Deflater;

/** Buffers after they were unmapped, whoever still has a view of them. */
final class SharedMemoryUnmapTest {
    private static final int SIZE = 16 * 4096 + 100;
    /** Enough for the JVM to compile what is called. */
    private static final int MANY = 20_000;

    private static ByteBuffer filled() throws Exception {
        SharedMemory memory = SharedMemory.create("unmapped", SIZE);
        ByteBuffer buffer = memory.mapReadWrite();
        for (int i = 0; i < SIZE; i++) {
            buffer.put(i, (byte) 7);
        }
        memory.close();
        return buffer;
    }

    private static long resident() throws Exception {
        for (String line : java.nio.file.Files.readAllLines(Path.of("/proc/self/status"))) {
            if (line.startsWith("RssShmem:")) {
                return Long.parseLong(line.replaceAll("[^0-9]", ""));
            }
        }
        throw new AssertionError("RssShmem");
    }

    @Test
    void accessesThrow() throws Exception {
        ByteBuffer buffer = filled();
        SharedMemory.unmap(buffer);
        assertEquals(0, buffer.limit());
        assertEquals(0, buffer.remaining());
        for (int i = 0; i < MANY; i++) {
            assertThrows(IndexOutOfBoundsException.class, () -> buffer.get(0));
            assertThrows(IndexOutOfBoundsException.class, () -> buffer.put(0, (byte) 1));
            assertThrows(BufferUnderflowException.class, buffer::get);
            assertThrows(BufferOverflowException.class, () -> buffer.put((byte) 1));
        }
        assertThrows(BufferUnderflowException.class, () -> buffer.get(new byte[1]));
        assertThrows(BufferOverflowException.class, () -> buffer.put(new byte[1]));
        assertThrows(IndexOutOfBoundsException.class, () -> buffer.getLong(0));
    }

    @Test
    void memoryIsReleasedAtOnce() throws Exception {
        SharedMemory memory = SharedMemory.create("released", 64 << 20);
        long before = resident();
        ByteBuffer buffer = memory.mapReadWrite();
        ByteBuffer view = buffer.duplicate();
        memory.close();
        for (int i = 0; i < buffer.capacity(); i += 4096) {
            buffer.put(i, (byte) 1);
        }
        assertTrue(resident() - before > 60 << 10);
        SharedMemory.unmap(buffer);
        assertTrue(resident() - before < 4 << 10);
        assertEquals(0, view.get(0));
    }

    @Test
    void unmappingAgainDoesNothing() throws Exception {
        ByteBuffer first = filled();
        SharedMemory.unmap(first);
        ByteBuffer second = filled();
        SharedMemory.unmap(first);
        SharedMemory.unmap(first.duplicate());
        assertEquals(7, second.get(0));
        SharedMemory.unmap(second);
    }

    @Test
    void anyViewWillDo() throws Exception {
        ByteBuffer buffer = filled();
        ByteBuffer view = buffer.asReadOnlyBuffer().position(4000).slice();
        assertEquals(7, view.get(0));
        SharedMemory.unmap(view);
        assertThrows(IndexOutOfBoundsException.class, () -> view.get(0));
        assertEquals(0, buffer.get(0));
    }

    @Test
    void whatIsNotOursIsRefused() throws Exception {
        ByteBuffer ours = filled();
        ByteBuffer empty = ours.duplicate().position(SIZE).slice();
        Path path = Path.of("/proc/self/exe");
        try (FileChannel channel = FileChannel.open(path, StandardOpenOption.READ)) {
            ByteBuffer[] others = {
                null, ByteBuffer.allocate(10), ByteBuffer.allocateDirect(10), ByteBuffer.allocateDirect(0), empty,
                ByteBuffer.wrap(new byte[5]), channel.map(FileChannel.MapMode.READ_ONLY, 0, 4096),
            };
            for (ByteBuffer other : others) {
                assertThrows(IllegalArgumentException.class, () -> SharedMemory.unmap(other));
            }
        }
        assertEquals(7, ours.get(SIZE - 1));
        SharedMemory.unmap(ours);
    }

    /** Each kind of access that the JVM, its compilers or its native methods have. */
    private static long use(ByteBuffer view, ByteBuffer other, FileChannel sink) throws Exception {
        long sum = 0;
        for (int i = 0; i < view.capacity(); i += 97) {
            sum += view.get(i);
        }
        for (int i = 0; i + 8 <= view.capacity(); i += 808) {
            sum += view.getLong(i) + view.getShort(i) + view.getInt(i);
        }
        byte[] bytes = new byte[view.capacity()];
        view.duplicate().get(bytes);
        sum += bytes[1];
        other.clear().put(view.duplicate());
        sum += view.duplicate().compareTo(other.clear()) + view.mismatch(other) + (view.equals(other) ? 1 : 0);
        CRC32 crc = new CRC32();
        crc.update(view.duplicate());
        CRC32C crcC = new CRC32C();
        crcC.update(view.duplicate());
        Adler32 adler = new Adler32();
        adler.update(view.duplicate());
        sum += crc.getValue() + crcC.getValue() + adler.getValue();
        sum += StandardCharsets.ISO_8859_1.decode(view.duplicate()).length() + view.asLongBuffer().get(3);
        sink.write(view.duplicate(), 0);
        Deflater deflater = new Deflater(1);
        deflater.setInput(view.duplicate());
        deflater.finish();
        sum += deflater.deflate(bytes);
        deflater.end();
        if (!view.isReadOnly()) {
            view.put(5, (byte) 3);
            view.putLong(800, 5);
            view.duplicate().put(bytes);
            view.asIntBuffer().put(9, 9);
        }
        return sum;
    }

    @Test
    void noAccessThroughAViewCrashes() throws Exception {
        Path path = java.nio.file.Files.createTempFile("ashmem", "test");
        try (FileChannel sink = FileChannel.open(path, StandardOpenOption.WRITE, StandardOpenOption.DELETE_ON_CLOSE)) {
            ByteBuffer other = ByteBuffer.allocateDirect(SIZE);
            // The first time interpreted, later compiled; each time with views that were used before, and are used after.
            for (int round = 0; round < 60; round++) {
                ByteBuffer buffer = filled();
                ByteBuffer[] views = {
                    buffer.duplicate(), buffer.asReadOnlyBuffer(), buffer.slice(100, 40_000),
                    buffer.slice(100, 50_000).asReadOnlyBuffer().slice(1, 30_000),
                };
                for (ByteBuffer view : views) {
                    assertTrue(use(view, ByteBuffer.allocateDirect(view.capacity()), sink) != 0);
                }
                SharedMemory.unmap(buffer);
                for (ByteBuffer view : views) {
                    use(view, ByteBuffer.allocateDirect(view.capacity()), sink);
                }
                // Who asks for that has it.
                use(buffer.clear(), other, sink);
            }
        }
    }

    @Test
    void aReadOnlyViewShowsZeros() throws Exception {
        SharedMemory memory = SharedMemory.create("read-only", 4096);
        memory.mapReadWrite().put(0, (byte) 9);
        ByteBuffer buffer = memory.mapReadOnly();
        ByteBuffer view = buffer.duplicate();
        assertEquals(9, view.get(0));
        SharedMemory.unmap(buffer);
        assertEquals(0, view.get(0));
        ByteBuffer none = memory.map(OsConstants.PROT_NONE, 0, 4096);
        assertEquals(0, none.get(0));
        memory.close();
    }

    @Test
    void unmappedUnderThreadsThatUseIt() throws Exception {
        for (int round = 0; round < 20; round++) {
            ByteBuffer buffer = filled();
            AtomicBoolean ended = new AtomicBoolean();
            AtomicReference<Throwable> failure = new AtomicReference<>();
            CountDownLatch started = new CountDownLatch(3);
            Thread[] threads = new Thread[3];
            for (int i = 0; i < threads.length; i++) {
                ByteBuffer view = i == 0 ? buffer.asReadOnlyBuffer() : buffer.duplicate();
                boolean isBulk = i == 2;
                threads[i] = new Thread(() -> {
                    try {
                        byte[] bytes = new byte[SIZE];
                        started.countDown();
                        while (!ended.get()) {
                            for (int at = 0; at < SIZE; at++) {
                                view.get(at);
                            }
                            view.get(0, bytes);
                            if (isBulk) {
                                view.put(0, bytes);
                            }
                        }
                        // Once more after it.
                        view.get(0, bytes);
                    } catch (Throwable throwable) {
                        failure.set(throwable);
                    }
                });
                threads[i].start();
            }
            started.await();
            SharedMemory.unmap(buffer);
            ended.set(true);
            for (Thread thread : threads) {
                thread.join();
            }
            if (failure.get() != null) {
                throw new AssertionError(failure.get());
            }
        }
    }
}
