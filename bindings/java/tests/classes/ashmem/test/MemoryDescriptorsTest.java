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
import java.io.FileNotFoundException;
import java.io.IOException;
import java.util.ArrayList;
import java.util.List;

/** A process that may have only a few hundred descriptors. */
final class MemoryDescriptorsTest {
    private static final int MANY = 1500;
    private static final File NULL = new File("/dev/null");

    private static void repeat(Assert.Action action) throws Throwable {
        for (int i = 0; i < MANY; i++) {
            action.run();
        }
    }

    /** Collected in time, whoever holds them. */
    @Test
    void droppedInMasses() throws Throwable {
        MemoryFile file = new MemoryFile("dropped", 5000);
        FileDescriptor descriptor = file.getFileDescriptor();
        SharedMemory memory = SharedMemory.create("dropped", 5000);
        ParcelFileDescriptor owner = file.getParcelFileDescriptor();
        repeat(() -> new MemoryFile("dropped", 5000).getFileDescriptor());
        repeat(() -> new MemoryFile("dropped", 5000).allowPurging(true));
        repeat(() -> new MemoryFile(descriptor, 5000, "r"));
        repeat(file::getParcelFileDescriptor);
        repeat(() -> SharedMemory.create("dropped", 5000));
        repeat(memory::getFdDup);
        repeat(owner::dup);
        repeat(() -> ParcelFileDescriptor.fromFd(0));
        repeat(ParcelFileDescriptor::createPipe);
        repeat(() -> ParcelFileDescriptor.open(NULL, ParcelFileDescriptor.MODE_READ_ONLY));
        repeat(() -> Parcel.obtain().writeFileDescriptor(descriptor));
        Parcel parcel = Parcel.obtain();
        parcel.writeFileDescriptor(descriptor);
        repeat(() -> {
            parcel.setDataPosition(0);
            parcel.readFileDescriptor();
        });
        file.close();
        memory.close();
        owner.close();
    }

    @Test
    void allInUse() throws Throwable {
        MemoryFile file = new MemoryFile("used", 5000);
        FileDescriptor descriptor = file.getFileDescriptor();
        SharedMemory memory = SharedMemory.create("used", 5000);
        ParcelFileDescriptor owner = file.getParcelFileDescriptor();
        Assert.Action[] makers = {
            () -> new MemoryFile("used", 1).close(),
            () -> new MemoryFile(descriptor, 5000, "r").close(),
            () -> new MemoryFile(descriptor, 5000, "r").getFileDescriptor(),
            () -> file.getParcelFileDescriptor().close(),
            () -> memory.getFdDup().close(),
            () -> owner.dup().close(),
            () -> ParcelFileDescriptor.fromFd(0).close(),
            () -> ParcelFileDescriptor.createPipe()[0].close(),
        };
        Parcel parcel = Parcel.obtain();
        parcel.writeParcelable(owner, 0);
        parcel.setDataSize(0);
        parcel.writeInt(7);
        for (Assert.Action maker : makers) {
            // Classes come from files, for which there are no descriptors later.
            maker.run();
        }
        List<ParcelFileDescriptor> others = new ArrayList<>();
        assertThrows(IOException.class, () -> {
            while (others.size() < 100_000) {
                others.add(ParcelFileDescriptor.fromFd(0));
            }
        });
        for (Assert.Action maker : makers) {
            assertThrows(IOException.class, maker);
        }
        ErrnoException refused = assertThrows(ErrnoException.class, () -> SharedMemory.create("used", 1));
        assertEquals(OsConstants.EMFILE, refused.errno);
        assertThrows(FileNotFoundException.class, () -> ParcelFileDescriptor.open(NULL, ParcelFileDescriptor.MODE_READ_ONLY));
        assertThrows(IllegalArgumentException.class, () -> owner.writeToParcel(parcel, 0));
        assertThrows(IllegalArgumentException.class, () -> parcel.writeTypedObject(owner, 0));
        assertThrows(IllegalArgumentException.class, () -> parcel.writeParcelable(owner, 0));
        assertEquals(4, parcel.dataSize());
        assertEquals(4, parcel.dataPosition());
        for (ParcelFileDescriptor each : others) {
            each.close();
        }
        owner.writeToParcel(parcel, 0);
        assertTrue(parcel.hasFileDescriptors());
        new MemoryFile(descriptor, 5000, "r").close();
        parcel.recycle();
        file.close();
        memory.close();
        owner.close();
    }
}
