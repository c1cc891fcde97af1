package ashmem.test;

import static ashmem.test.Assert.assertEquals;
import static ashmem.test.Assert.assertTrue;

import android.os.MemoryFile;
import android.os.ParcelFileDescriptor;
import android.os.SharedMemory;
import java.io.FileDescriptor;
import java.io.FileInputStream;
import java.io.IOException;
import java.nio.ByteBuffer;
import java.util.Arrays;
import java.util.concurrent.CyclicBarrier;
import java.util.concurrent.atomic.AtomicReference;

/** Closed by one thread while others use it: what they get is a documented exception, or what was there. */
final class MemoryCloseTest {
    private static final int SIZE = 100_000;

    private interface Use {
        /** May end with an exception that the thread expects. */
        void run() throws Exception;
    }

    /** Runs all of them at the same time, over and over until each has seen what it waits for. */
    private static void race(Use... uses) throws Exception {
        AtomicReference<Throwable> failure = new AtomicReference<>();
        CyclicBarrier start = new CyclicBarrier(uses.length);
        Thread[] threads = new Thread[uses.length];
        for (int i = 0; i < uses.length; i++) {
            Use use = uses[i];
            threads[i] = new Thread(() -> {
                try {
                    start.await();
                    use.run();
                } catch (Throwable throwable) {
                    failure.compareAndSet(null, throwable);
                }
            });
            threads[i].start();
        }
        for (Thread thread : threads) {
            thread.join();
        }
        if (failure.get() != null) {
            throw new AssertionError(failure.get());
        }
    }

    /** Until the exception is thrown. */
    private static Use until(Class<? extends Exception> end, Use use) {
        return () -> {
            try {
                while (true) {
                    use.run();
                }
            } catch (Exception exception) {
                if (exception.getClass() != end) {
                    throw exception;
                }
            }
        };
    }

    private static void assertOneValue(byte[] bytes) {
        byte first = bytes[0];
        for (byte other : bytes) {
            assertEquals(first, other);
        }
    }

    @Test
    void memoryFile() throws Exception {
        for (int round = 0; round < 60; round++) {
            boolean isPurgeable = round % 2 == 1;
            MemoryFile file = new MemoryFile("raced", SIZE);
            byte[] ones = new byte[SIZE];
            Arrays.fill(ones, (byte) 1);
            file.writeBytes(ones, 0, 0, SIZE);
            if (isPurgeable) {
                file.allowPurging(true);
            }
            race(
                    until(IOException.class, () -> {
                        byte[] bytes = new byte[SIZE];
                        file.readBytes(bytes, 0, 0, SIZE);
                        assertOneValue(bytes);
                    }),
                    until(IOException.class, () -> file.readBytes(new byte[1], SIZE - 1, 0, 1)),
                    until(IOException.class, () -> file.writeBytes(ones, 0, 0, SIZE)),
                    until(IOException.class, () -> {
                        file.getParcelFileDescriptor().close();
                        file.isDeactivated();
                        file.isPurgingAllowed();
                    }),
                    () -> {
                        Thread.yield();
                        file.close();
                    },
                    file::close);
        }
    }

    @Test
    void memoryFileAndItsSetting() throws Exception {
        for (int round = 0; round < 60; round++) {
            MemoryFile file = new MemoryFile("raced", SIZE);
            race(
                    // Closed, it may say so or that nothing changes.
                    until(IOException.class, () -> {
                        file.allowPurging(true);
                        file.allowPurging(false);
                        file.readBytes(new byte[1], 0, 0, 1);
                    }),
                    until(IOException.class, () -> file.readBytes(new byte[5000], 0, 0, 5000)),
                    () -> {
                        Thread.yield();
                        file.deactivate();
                        file.close();
                    });
        }
    }

    @Test
    void descriptorOfAMemoryFile() throws Exception {
        for (int round = 0; round < 60; round++) {
            MemoryFile file = new MemoryFile("raced", SIZE);
            race(
                    until(IOException.class, () -> {
                        FileDescriptor descriptor = file.getFileDescriptor();
                        try (FileInputStream stream = new FileInputStream(descriptor)) {
                            stream.read();
                        } catch (IOException exception) {
                            // Closed by the other thread meanwhile: there is another one the next time.
                        }
                    }),
                    until(IOException.class, () -> {
                        try (ParcelFileDescriptor duplicate = ParcelFileDescriptor.dup(file.getFileDescriptor())) {
                            assertTrue(MemoryFile.isMemoryFile(duplicate.getFileDescriptor()));
                        } catch (IOException exception) {
                            file.getFileDescriptor();
                        }
                    }),
                    () -> {
                        Thread.yield();
                        file.close();
                    });
        }
    }

    @Test
    void sharedMemory() throws Exception {
        for (int round = 0; round < 60; round++) {
            SharedMemory memory = SharedMemory.create("raced", SIZE);
            race(
                    until(IllegalStateException.class, () -> {
                        ByteBuffer buffer = memory.mapReadWrite();
                        buffer.put(SIZE - 1, (byte) 1);
                        SharedMemory.unmap(buffer);
                    }),
                    until(IllegalStateException.class, () -> memory.getFdDup().close()),
                    until(IllegalStateException.class, () -> {
                        memory.getSize();
                        memory.getFd();
                        memory.setProtect(7);
                    }),
                    () -> {
                        Thread.yield();
                        memory.close();
                    },
                    memory::close);
            assertEquals(-1, memory.getFd());
        }
    }

    @Test
    void parcelFileDescriptor() throws Exception {
        for (int round = 0; round < 100; round++) {
            ParcelFileDescriptor[] pipe = ParcelFileDescriptor.createPipe();
            race(
                    until(IllegalStateException.class, () -> {
                        try {
                            pipe[0].dup().close();
                        } catch (IOException exception) {
                            // Closed between two steps.
                        }
                    }),
                    until(IllegalStateException.class, () -> {
                        pipe[0].getStatSize();
                        pipe[0].getFd();
                    }),
                    () -> {
                        Thread.yield();
                        new FileInputStream(pipe[0].getFileDescriptor()).close();
                        pipe[0].close();
                    });
            pipe[1].close();
        }
    }
}
