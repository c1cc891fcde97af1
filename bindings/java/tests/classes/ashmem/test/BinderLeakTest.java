package ashmem.test;

import static ashmem.test.Assert.assertEquals;
import static ashmem.test.Assert.assertSame;
import static ashmem.test.Assert.assertTrue;

import android.os.IBinder;
import android.os.Parcel;
import android.os.ParcelFileDescriptor;
import java.io.File;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Arrays;

/** Nothing is left of many transactions with binders and descriptors. */
final class BinderLeakTest {
    private static final int TURNS = Integer.getInteger("ashmem.test.turns", 20_000);
    private final IBinder service = BinderCalls.service();
    private final int server;

    BinderLeakTest() throws Exception {
        server = BinderCalls.call(service, BinderCodes.OWN_PID, data -> {}, Parcel::readInt);
    }

    @Test
    void transactions() throws Exception {
        ParcelFileDescriptor[] pipe = ParcelFileDescriptor.createPipe();
        turns(TURNS / 10, pipe);
        settle();
        long own = descriptors("self");
        long others = descriptors(Integer.toString(server));
        long ownMemory = memory("self");
        long othersMemory = memory(Integer.toString(server));
        turns(TURNS, pipe);
        settle();
        BinderCalls.await(() -> descriptors("self") <= own);
        // Those of the service wait for its garbage collector at most.
        assertTrue(descriptors(Integer.toString(server)) <= others + 50);
        long grown = memory("self") - ownMemory;
        long othersGrown = memory(Integer.toString(server)) - othersMemory;
        System.out.println(TURNS + " turns: " + grown + " KiB here, " + othersGrown + " KiB there, descriptors " + own + " to "
                + descriptors("self") + ", there " + others + " to " + descriptors(Integer.toString(server)) + ", counts "
                + Arrays.toString(BinderCalls.counts()));
        // The heaps of the JVMs may grow up to their limits; what is native may not.
        assertTrue(grown < 300_000 && othersGrown < 300_000);
    }

    private void turns(int turns, ParcelFileDescriptor[] pipe) throws Exception {
        for (int turn = 0; turn < turns; turn++) {
            BinderCallback callback = new BinderCallback();
            int number = turn;
            BinderCalls.call(service, BinderCodes.OBJECTS, data -> {
                data.writeStrongBinder(callback);
                data.writeTypedObject(pipe[0], 0);
                data.writeInt(number);
                data.writeTypedObject(pipe[1], 0);
                data.writeStrongBinder(null);
                data.writeStrongBinder(service);
                data.writeString("end");
            }, reply -> {
                assertSame(callback, reply.readStrongBinder());
                reply.readTypedObject(ParcelFileDescriptor.CREATOR).close();
                assertEquals(number, reply.readInt());
                // The other one is left to the parcel.
                return null;
            });
        }
    }

    /** One proxy, the service's, is left, and nothing that others hold. */
    private void settle() throws Exception {
        BinderCalls.await(() -> {
            // Has the service collect its garbage.
            BinderCalls.call(service, BinderCodes.FORGET);
            return Arrays.equals(new int[] {1, 0, 0}, BinderCalls.counts());
        });
    }

    private static long descriptors(String process) {
        String[] names = new File("/proc/" + process + "/fd").list();
        return names == null ? 0 : names.length;
    }

    /** KiB. */
    private static long memory(String process) throws IOException {
        for (String line : Files.readAllLines(Path.of("/proc/" + process + "/status"))) {
            if (line.startsWith("RssAnon:")) {
                return Long.parseLong(line.replaceAll("[^0-9]", ""));
            }
        }
        throw new IOException("no RssAnon");
    }
}
