package ashmem.test;

import static ashmem.test.Assert.assertEquals;
import static ashmem.test.Assert.assertThrows;
import static ashmem.test.Assert.assertTrue;

import android.os.MemoryFile;
import android.os.Parcel;
import android.os.ParcelFileDescriptor;
import android.os.SharedMemory;
import android.system.ErrnoException;
import android.system.OsConstants;
import java.io.File;
import java.io.FileDescriptor;
import java.io.FileInputStream;
import java.io.IOException;
import java.lang.reflect.Method;
import java.nio.ByteBuffer;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;

/**
 * What is created and closed leaves nothing, and neither does what is dropped. By hand: {@code MemoryLeakTest [COUNT]} does that
 * many of each and prints what is left.
 */
final class MemoryLeakTest {
    private static final int COUNT = 20_000;
    /** Collections that may be needed until something is gone. */
    private static final int PATIENCE = 200;

    public static void main(String[] arguments) throws Exception {
        int count = arguments.length > 0 ? Integer.parseInt(arguments[0]) : 1_000_000;
        MemoryLeakTest test = new MemoryLeakTest();
        String[] names = {"MemoryFile", "MemoryFile for reading", "SharedMemory with a mapping", "ParcelFileDescriptor"};
        Round[] rounds = {MemoryLeakTest::file, MemoryLeakTest::reader, MemoryLeakTest::mapping, MemoryLeakTest::descriptor};
        for (int i = 0; i < rounds.length; i++) {
            test.repeat(COUNT, rounds[i]);
            System.gc();
            State before = State.now();
            long start = System.nanoTime();
            test.repeat(count, rounds[i]);
            double each = (System.nanoTime() - start) / 1e3 / count;
            System.out.printf("%s: %d created and closed, %.1f us each%n  before %s%n  after  %s%n", names[i], count, each,
                    before, settled(before));
        }
    }

    private interface Round {
        void run(int number) throws Exception;
    }

    /** What the process has. */
    private record State(int descriptors, int objects, int mappings, long memory) {
        static State now() throws Exception {
            int objects = count("MemoryFile") + count("SharedMemory") + count("Mappings");
            int mappings = 0;
            long memory = 0;
            for (String line : Files.readAllLines(Path.of("/proc/self/maps"))) {
                mappings += line.contains("leak test") ? 1 : 0;
            }
            for (String line : Files.readAllLines(Path.of("/proc/self/status"))) {
                memory = line.startsWith("VmRSS:") ? Long.parseLong(line.replaceAll("[^0-9]", "")) : memory;
            }
            return new State(new File("/proc/self/fd").list().length, objects, mappings, memory);
        }

        private static int count(String name) throws ReflectiveOperationException {
            Method method = Class.forName("android.os." + name).getDeclaredMethod("nativeCount");
            method.setAccessible(true);
            return (int) method.invoke(null);
        }

        boolean isNoMoreThan(State other) {
            return descriptors <= other.descriptors && objects <= other.objects && mappings <= other.mappings;
        }

        @Override
        public String toString() {
            return descriptors + " descriptors, " + objects + " objects, " + mappings + " mappings, " + memory + " KiB";
        }
    }

    private void repeat(int count, Round round) throws Exception {
        for (int i = 0; i < count; i++) {
            round.run(i);
        }
    }

    /** Mappings go when the collector says so. */
    private static State settled(State before) throws Exception {
        State now = State.now();
        for (int i = 0; i < PATIENCE && !now.isNoMoreThan(before); i++) {
            System.gc();
            Thread.sleep(10);
            now = State.now();
        }
        return now;
    }

    /** After what was dropped before is gone, too. */
    private static State lowest() throws Exception {
        State lowest = State.now();
        for (int i = 0; i < 10; i++) {
            System.gc();
            Thread.sleep(10);
            State now = State.now();
            lowest = now.isNoMoreThan(lowest) ? now : lowest;
        }
        return lowest;
    }

    private void assertNothingIsLeft(Round round) throws Exception {
        // What is made once.
        repeat(100, round);
        State before = lowest();
        repeat(COUNT, round);
        State after = settled(before);
        if (!after.isNoMoreThan(before)) {
            throw new AssertionError("before: " + before + "; after: " + after);
        }
        // Twenty thousand of anything would be more.
        assertTrue(after.memory() - before.memory() < 64 << 10);
    }

    private static void file(int number) throws Exception {
        MemoryFile file = new MemoryFile("leak test", 5000);
        file.writeBytes(new byte[] {1}, 0, 4999, 1);
        if (number % 4 == 0) {
            file.allowPurging(true);
        }
        if (number % 4 == 1) {
            file.getFileDescriptor();
        }
        file.close();
    }

    private static final MemoryFile SHARED = shared();

    private static MemoryFile shared() {
        try {
            return new MemoryFile("leak", 5000);
        } catch (IOException exception) {
            throw new AssertionError(exception);
        }
    }

    private static void reader(int number) throws Exception {
        try (ParcelFileDescriptor sent = SHARED.getParcelFileDescriptor()) {
            MemoryFile reader = new MemoryFile(sent.getFileDescriptor(), 5000, "r");
            reader.readBytes(new byte[1], 4999, 0, 1);
            reader.close();
        }
    }

    private static void mapping(int number) throws Exception {
        SharedMemory memory = SharedMemory.create("leak test", 5000);
        ByteBuffer buffer = number % 2 == 0 ? memory.mapReadWrite() : memory.mapReadOnly();
        buffer.get(4999);
        SharedMemory.unmap(buffer);
        memory.close();
    }

    private static void descriptor(int number) throws Exception {
        ParcelFileDescriptor[] pipe = ParcelFileDescriptor.createPipe();
        if (number % 2 == 0) {
            ParcelFileDescriptor.adoptFd(pipe[0].detachFd()).close();
        } else {
            new FileInputStream(pipe[0].getFileDescriptor()).close();
        }
        pipe[0].close();
        pipe[1].close();
    }

    private static void parcel(int number) throws Exception {
        SharedMemory memory = SharedMemory.create("leak test", 5000);
        Parcel parcel = Parcel.obtain();
        memory.writeToParcel(parcel, 0);
        parcel.setDataPosition(0);
        SharedMemory.CREATOR.createFromParcel(parcel).close();
        parcel.recycle();
        memory.close();
    }

    private static void refused(int number) throws Exception {
        ParcelFileDescriptor[] pipe = ParcelFileDescriptor.createPipe();
        assertThrows(IllegalArgumentException.class, () -> new MemoryFile(pipe[0].getFileDescriptor(), 1, "r"));
        assertThrows(IllegalArgumentException.class, () -> SharedMemory.fromFileDescriptor(pipe[0]));
        pipe[1].close();
        assertThrows(IOException.class, () -> new MemoryFile("a\0b", 1));
    }

    @Test
    void createdAndClosed() throws Exception {
        assertNothingIsLeft(MemoryLeakTest::file);
        assertNothingIsLeft(MemoryLeakTest::reader);
        assertNothingIsLeft(MemoryLeakTest::descriptor);
        assertNothingIsLeft(MemoryLeakTest::parcel);
        assertNothingIsLeft(MemoryLeakTest::refused);
    }

    @Test
    void mappedAndUnmapped() throws Exception {
        assertNothingIsLeft(MemoryLeakTest::mapping);
    }

    /** In a frame of its own, so that nothing is left on the stack. */
    private static void drop() throws Exception {
        new MemoryFile("leak test", 5000).readBytes(new byte[1], 0, 0, 1);
        new MemoryFile("leak test", 5000).getFileDescriptor();
        SharedMemory memory = SharedMemory.create("leak test", 5000);
        memory.mapReadOnly().get(0);
        memory.mapReadWrite().slice(5, 10).get(0);
        memory.getFdDup();
        ParcelFileDescriptor.createPipe();
    }

    @Test
    void whatIsDroppedIsReleased() throws Exception {
        drop();
        State before = lowest();
        for (int i = 0; i < 30; i++) {
            drop();
        }
        State after = settled(before);
        assertTrue(after.isNoMoreThan(before));
    }

    /** The collector does not know that the JVM needs mappings, too. */
    @Test
    void mappingsThatAreDroppedInMasses() throws Exception {
        SharedMemory memory = SharedMemory.create("leak test", 5000);
        State before = lowest();
        for (int i = 0; i < 70_000; i++) {
            memory.mapReadOnly();
        }
        assertTrue(settled(before).isNoMoreThan(before));
        memory.close();
    }

    /** Who is interrupted all the time waits for them nevertheless. */
    @Test
    void mappingsThatAreDroppedByAnInterruptedThread() throws Exception {
        SharedMemory memory = SharedMemory.create("leak test", 5000);
        State before = lowest();
        for (int i = 0; i < 70_000; i++) {
            Thread.currentThread().interrupt();
            memory.mapReadOnly();
            assertTrue(Thread.interrupted());
        }
        assertTrue(settled(before).isNoMoreThan(before));
        memory.close();
    }

    /** Each has two mappings. */
    @Test
    void purgeableFilesThatAreKeptInMasses() throws Exception {
        if (Integer.parseInt(Files.readAllLines(Path.of("/proc/sys/vm/max_map_count")).get(0)) > 100_000) {
            System.out.println("skipped: the kernel allows more mappings than this test has time for");
            return;
        }
        SharedMemory memory = SharedMemory.create("leak test", 5000);
        // What is made once.
        file(0);
        reader(0);
        mapping(0);
        State before = lowest();
        List<Object> kept = new ArrayList<>();
        MemoryFile file = new MemoryFile("leak test", 5000);
        file.allowPurging(true);
        FileDescriptor descriptor = file.getFileDescriptor();
        String[] limit = Files.readString(Path.of("/proc/self/limits")).split("Max open files *", 2)[1].split(" ");
        int files = (int) Math.min(10_000, (Long.parseLong(limit[0]) - 200) / 3);
        for (int i = 0; i < files; i++) {
            MemoryFile received = new MemoryFile(descriptor, 5000, "r");
            received.readBytes(new byte[1], 0, 0, 1);
            kept.add(received);
        }
        assertThrows(ErrnoException.class, () -> {
            while (kept.size() < 100_000) {
                kept.add(memory.mapReadOnly());
            }
        });
        // The JVM has mappings for these.
        for (int i = 0; i < 50; i++) {
            Thread thread = new Thread(() -> {});
            thread.start();
            thread.join();
        }
        int lines = Files.readAllLines(Path.of("/proc/self/maps")).size();
        // Three quarters for us, and some for the JVM.
        int most = Integer.parseInt(Files.readAllLines(Path.of("/proc/sys/vm/max_map_count")).get(0));
        assertTrue(lines < most / 5 * 4);
        kept.clear();
        file.close();
        assertTrue(settled(before).isNoMoreThan(before));
        memory.close();
    }

    @Test
    void mappingsThatAreKeptInMasses() throws Exception {
        if (Integer.parseInt(Files.readAllLines(Path.of("/proc/sys/vm/max_map_count")).get(0)) > 100_000) {
            System.out.println("skipped: the kernel allows more mappings than this test has time for");
            return;
        }
        SharedMemory memory = SharedMemory.create("leak test", 5000);
        State before = lowest();
        List<ByteBuffer> kept = new ArrayList<>();
        ErrnoException refused = assertThrows(ErrnoException.class, () -> {
            while (kept.size() < 100_000) {
                kept.add(memory.mapReadOnly());
            }
        });
        assertEquals(OsConstants.ENOMEM, refused.errno);
        assertTrue(kept.size() > 10_000);
        assertThrows(IOException.class, () -> new MemoryFile("leak test", 1));
        long start = System.nanoTime();
        for (int i = 0; i < 1000; i++) {
            assertThrows(ErrnoException.class, memory::mapReadOnly);
        }
        // A collection for each, and waits until something is released, would take minutes.
        assertTrue(System.nanoTime() - start < 30_000_000_000L);
        kept.clear();
        assertTrue(settled(before).isNoMoreThan(before));
        SharedMemory.unmap(memory.mapReadOnly());
        memory.close();
    }

    /** As the seed's client does: whoever has the FileDescriptor does not need what it came from. */
    @Test
    void aFileDescriptorOutlivesItsOwner() throws Exception {
        FileDescriptor descriptor = SHARED.getParcelFileDescriptor().getFileDescriptor();
        FileInputStream stream = new FileInputStream(SHARED.getParcelFileDescriptor().getFileDescriptor());
        for (int i = 0; i < 5; i++) {
            System.gc();
            drop();
        }
        assertTrue(descriptor.valid());
        MemoryFile reader = new MemoryFile(descriptor, 5000, "r");
        assertEquals(5000, reader.readBytes(new byte[5000], 0, 0, 5000));
        assertEquals(0, stream.read());
        reader.close();
        stream.close();
    }
}
