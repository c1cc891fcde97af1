package ashmem.test;

import android.os.MemoryFile;
import android.os.SharedMemory;
import java.nio.ByteBuffer;
import java.util.Arrays;

/**
 * Reads and writes of a MemoryFile beside those of direct buffers. Run by hand: it prints nanoseconds, the median of rounds that
 * take turns. {@code MemoryBench [ROUNDS]}.
 */
public final class MemoryBench {
    private static final int[] SIZES = {1, 64, 4096, 64 << 10, 1 << 20};
    private static final long ROUND_BYTES = 16 << 20;

    private interface Copy {
        void run() throws Exception;
    }

    private MemoryBench() {}

    public static void main(String[] arguments) throws Exception {
        int rounds = arguments.length > 0 ? Integer.parseInt(arguments[0]) : 101;
        System.out.println(
                "bytes | readBytes, shared buffer, allocated buffer, ratio | writeBytes, shared buffer, ratio | purgeable");
        for (int size : SIZES) {
            MemoryFile file = new MemoryFile("bench", 1 << 20);
            MemoryFile purgeable = new MemoryFile("bench", 1 << 20);
            SharedMemory memory = SharedMemory.create("bench", 1 << 20);
            ByteBuffer shared = memory.mapReadWrite();
            ByteBuffer allocated = ByteBuffer.allocateDirect(1 << 20);
            byte[] bytes = new byte[size];
            Arrays.fill(bytes, (byte) 7);
            file.writeBytes(new byte[1 << 20], 0, 0, 1 << 20);
            purgeable.writeBytes(new byte[1 << 20], 0, 0, 1 << 20);
            shared.put(0, new byte[1 << 20]);
            allocated.put(0, new byte[1 << 20]);
            purgeable.allowPurging(true);
            Copy[] copies = {
                () -> file.readBytes(bytes, 0, 0, size),
                () -> shared.get(0, bytes, 0, size),
                () -> allocated.get(0, bytes, 0, size),
                () -> file.writeBytes(bytes, 0, 0, size),
                () -> shared.put(0, bytes, 0, size),
                () -> purgeable.readBytes(bytes, 0, 0, size),
            };
            double[] medians = measure(copies, rounds, (int) Math.min(100_000, ROUND_BYTES / size));
            System.out.printf("%7d | %9.0f %9.0f %9.0f %5.2f | %9.0f %9.0f %5.2f | %9.0f%n", size, medians[0], medians[1],
                    medians[2], medians[2] / medians[0], medians[3], medians[4], medians[4] / medians[3], medians[5]);
            file.close();
            purgeable.close();
            memory.close();
        }
    }

    private static double[] measure(Copy[] copies, int rounds, int repetitions) throws Exception {
        double[][] times = new double[copies.length][rounds];
        for (int round = -rounds / 2; round < rounds; round++) {
            for (int copy = 0; copy < copies.length; copy++) {
                long start = System.nanoTime();
                for (int i = 0; i < repetitions; i++) {
                    copies[copy].run();
                }
                if (round >= 0) {
                    times[copy][round] = (System.nanoTime() - start) / (double) repetitions;
                }
            }
        }
        double[] medians = new double[copies.length];
        for (int copy = 0; copy < copies.length; copy++) {
            Arrays.sort(times[copy]);
            medians[copy] = times[copy][rounds / 2];
        }
        return medians;
    }
}
