package ashmem.test;

import static ashmem.test.Assert.assertEquals;
import static ashmem.test.Assert.assertFalse;
import static ashmem.test.Assert.assertSame;
import static ashmem.test.Assert.assertThrows;
import static ashmem.test.Assert.assertTrue;

import android.os.BadParcelableException;
import android.os.Binder;
import android.os.IBinder;
import android.os.IInterface;
import android.os.Parcel;
import android.os.ParcelFileDescriptor;
import java.io.File;
import java.io.FileDescriptor;
import java.io.FileInputStream;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;

/** Binders and descriptors in parcels that do not leave the process. */
final class ParcelObjectsTest {
    private final Parcel parcel = Parcel.obtain();
    private final Path file = temporary();

    private static Path temporary() {
        try {
            Path file = Files.createTempFile("parcel", null);
            file.toFile().deleteOnExit();
            return Files.writeString(file, "contents");
        } catch (IOException exception) {
            throw new AssertionError(exception);
        }
    }

    private FileInputStream open() throws IOException {
        return new FileInputStream(file.toFile());
    }

    /** How many descriptors of this process name the file. */
    private int opened() {
        int count = 0;
        for (File descriptor : new File("/proc/self/fd").listFiles()) {
            try {
                if (Files.readSymbolicLink(descriptor.toPath()).equals(file)) {
                    count++;
                }
            } catch (IOException exception) {
                // It was the one that read the directory.
            }
        }
        return count;
    }

    private static String read(FileDescriptor descriptor) throws IOException {
        // All of them share one offset.
        try (FileInputStream input = new FileInputStream(descriptor)) {
            input.getChannel().position(0);
            return new String(input.readAllBytes());
        }
    }

    @Test
    void binders() {
        Binder first = new Binder();
        Binder second = new Binder();
        parcel.writeStrongBinder(first);
        parcel.writeInt(7);
        parcel.writeStrongBinder(null);
        parcel.writeStrongInterface(() -> second);
        parcel.writeStrongInterface(null);
        assertEquals(16 + 4 + 8 + 16 + 8, parcel.dataSize());
        for (int round = 0; round < 2; round++) {
            parcel.setDataPosition(0);
            assertSame(first, parcel.readStrongBinder());
            assertEquals(7, parcel.readInt());
            assertSame(null, parcel.readStrongBinder());
            assertSame(second, parcel.readStrongBinder());
            assertSame(null, parcel.readStrongBinder());
            assertEquals(0, parcel.dataAvail());
        }
        IInterface none = null;
        parcel.writeStrongInterface(none);
        assertFalse(parcel.hasFileDescriptors());
    }

    @Test
    void arraysOfBinders() {
        IBinder[] array = {new Binder(), null, new Binder()};
        parcel.writeBinderArray(array);
        parcel.writeBinderList(Arrays.asList(array));
        parcel.writeBinderArray(null);
        parcel.setDataPosition(0);
        assertEquals(array, parcel.createBinderArray());
        assertEquals(Arrays.asList(array), parcel.createBinderArrayList());
        assertSame(null, parcel.createBinderArray());
        parcel.setDataPosition(0);
        IBinder[] into = new IBinder[3];
        parcel.readBinderArray(into);
        assertEquals(array, into);
        List<IBinder> list = new ArrayList<>();
        parcel.readBinderList(list);
        assertEquals(3, list.size());
        parcel.setDataPosition(0);
        assertThrows(BadParcelableException.class, () -> parcel.readBinderArray(new IBinder[1]));
        assertEquals(0, parcel.dataPosition());
    }

    @Test
    void whereThereIsNoObject() {
        parcel.writeInt(1);
        parcel.writeInt(2);
        parcel.writeStrongBinder(new Binder());
        for (int position : new int[] {0, 4, 12, 16, 20, 24}) {
            parcel.setDataPosition(position);
            if (position != 12) {
                assertThrows(BadParcelableException.class, parcel::readFileDescriptor);
            }
            if (position != 12 && position != 16) {
                assertThrows(BadParcelableException.class, parcel::readStrongBinder);
            }
            assertEquals(position, parcel.dataPosition());
        }
        parcel.setDataPosition(8);
        assertThrows(BadParcelableException.class, parcel::readFileDescriptor);
        // A binder that only looks like one.
        Parcel forged = Parcel.obtain();
        forged.writeInt(1);
        forged.writeLong(5);
        forged.writeInt(12);
        forged.setDataPosition(0);
        assertThrows(BadParcelableException.class, forged::readStrongBinder);
        assertThrows(BadParcelableException.class, forged::readFileDescriptor);
    }

    @Test
    void descriptors() throws IOException {
        try (FileInputStream input = open()) {
            parcel.writeInt(1);
            parcel.writeFileDescriptor(input.getFD());
        }
        assertTrue(parcel.hasFileDescriptors());
        assertTrue(parcel.hasFileDescriptors(4, 8));
        assertFalse(parcel.hasFileDescriptors(0, 4));
        assertThrows(IllegalArgumentException.class, () -> parcel.hasFileDescriptors(4, 9));
        assertThrows(IllegalArgumentException.class, () -> parcel.hasFileDescriptors(-1, 4));
        assertThrows(IllegalArgumentException.class, () -> parcel.hasFileDescriptors(4, Integer.MAX_VALUE));
        assertEquals(1, opened());
        for (int round = 0; round < 2; round++) {
            parcel.setDataPosition(4);
            ParcelFileDescriptor descriptor = parcel.readFileDescriptor();
            assertEquals(0, parcel.dataAvail());
            assertEquals("contents", read(descriptor.getFileDescriptor()));
        }
        parcel.setDataPosition(4);
        assertThrows(BadParcelableException.class, parcel::readStrongBinder);
        assertEquals(4, parcel.dataPosition());
        parcel.setDataPosition(4);
        ParcelFileDescriptor own = parcel.readFileDescriptor();
        assertEquals(2, opened());
        parcel.recycle();
        assertEquals(1, opened());
        assertEquals("contents", read(own.getFileDescriptor()));
        assertEquals(0, opened());
    }

    @Test
    void descriptorsAreParcelables() throws IOException {
        ParcelFileDescriptor descriptor = ParcelFileDescriptor.open(file.toFile(), ParcelFileDescriptor.MODE_READ_ONLY);
        parcel.writeParcelable(descriptor, 0);
        parcel.writeTypedObject(descriptor, 0);
        descriptor.close();
        parcel.setDataPosition(0);
        ParcelFileDescriptor named = parcel.readParcelable(getClass().getClassLoader());
        assertEquals("contents", read(named.getFileDescriptor()));
        ParcelFileDescriptor typed = parcel.readTypedObject(ParcelFileDescriptor.CREATOR);
        assertEquals("contents", read(typed.getFileDescriptor()));
        parcel.recycle();
        assertEquals(0, opened());
    }

    @Test
    void closedDescriptors() throws IOException {
        FileInputStream input = open();
        input.close();
        assertThrows(IllegalArgumentException.class, () -> parcel.writeFileDescriptor(input.getFD()));
        assertThrows(IllegalArgumentException.class, () -> parcel.writeFileDescriptor(new FileDescriptor()));
        assertThrows(NullPointerException.class, () -> parcel.writeFileDescriptor(null));
        assertEquals(0, parcel.dataSize());
        assertFalse(parcel.hasFileDescriptors());
    }

    @Test
    void objectsEndWithTheirBytes() throws IOException {
        Binder binder = new Binder();
        try (FileInputStream input = open()) {
            parcel.writeStrongBinder(binder);
            parcel.writeFileDescriptor(input.getFD());
            parcel.writeFileDescriptor(input.getFD());
        }
        assertEquals(2, opened());
        parcel.setDataSize(28);
        assertEquals(1, opened());
        parcel.setDataSize(32);
        parcel.setDataPosition(24);
        assertThrows(BadParcelableException.class, parcel::readFileDescriptor);
        parcel.setDataPosition(0);
        assertSame(binder, parcel.readStrongBinder());
        parcel.setDataSize(0);
        assertEquals(0, opened());
        assertFalse(parcel.hasFileDescriptors());
        parcel.unmarshall(new byte[16], 0, 16);
        parcel.setDataPosition(0);
        assertSame(null, parcel.readStrongBinder());
    }

    @Test
    void objectsAreNotOverwritten() {
        Binder binder = new Binder();
        parcel.writeInt(1);
        parcel.writeStrongBinder(binder);
        parcel.writeInt(2);
        for (int position : new int[] {1, 4, 8, 16, 19}) {
            parcel.setDataPosition(position);
            assertThrows(IllegalStateException.class, () -> parcel.writeInt(9));
            assertThrows(IllegalStateException.class, () -> parcel.writeStrongBinder(binder));
            assertEquals(position, parcel.dataPosition());
        }
        parcel.setDataPosition(0);
        assertThrows(IllegalStateException.class, () -> parcel.writeLong(9));
        parcel.writeInt(3);
        parcel.setDataPosition(20);
        parcel.writeInt(4);
        parcel.setDataPosition(0);
        assertEquals(3, parcel.readInt());
        assertSame(binder, parcel.readStrongBinder());
        assertEquals(4, parcel.readInt());
    }

    @Test
    void writtenInAnyOrder() {
        List<Binder> binders = new ArrayList<>();
        for (int index = 0; index < 20; index++) {
            binders.add(new Binder());
        }
        for (int index = 19; index >= 0; index--) {
            parcel.setDataPosition(16 * index);
            parcel.writeStrongBinder(binders.get(index));
        }
        parcel.setDataPosition(0);
        for (Binder binder : binders) {
            assertSame(binder, parcel.readStrongBinder());
        }
    }

    @Test
    void marshallRefuses() {
        parcel.writeStrongBinder(null);
        assertEquals(new byte[8], parcel.marshall());
        parcel.writeStrongBinder(new Binder());
        assertThrows(RuntimeException.class, parcel::marshall);
    }

    @Test
    void appended() throws IOException {
        Binder binder = new Binder();
        Parcel source = Parcel.obtain();
        source.writeInt(1);
        source.writeStrongBinder(binder);
        try (FileInputStream input = open()) {
            source.writeFileDescriptor(input.getFD());
        }
        source.writeInt(2);
        parcel.writeInt(0);
        for (int[] part : new int[][] {{0, 8}, {8, 12}, {8, 16}, {4, 20}, {24, 4}}) {
            assertThrows(IllegalArgumentException.class, () -> parcel.appendFrom(source, part[0], part[1]));
        }
        assertEquals(4, parcel.dataSize());
        assertEquals(1, opened());
        parcel.appendFrom(source, 4, 28);
        assertEquals(2, opened());
        parcel.appendFrom(parcel, 20, 12);
        assertEquals(3, opened());
        source.recycle();
        assertEquals(2, opened());
        parcel.setDataPosition(4);
        assertSame(binder, parcel.readStrongBinder());
        for (int count = 0; count < 2; count++) {
            try (ParcelFileDescriptor descriptor = parcel.readFileDescriptor()) {
                assertEquals("contents", read(descriptor.getFileDescriptor()));
            }
            assertEquals(2, parcel.readInt());
        }
        // Where there is an object already.
        Parcel other = Parcel.obtain();
        other.appendFrom(parcel, 20, 12);
        other.setDataPosition(0);
        assertThrows(IllegalStateException.class, () -> other.appendFrom(parcel, 20, 12));
        assertEquals(3, opened());
        other.recycle();
        parcel.recycle();
        assertEquals(0, opened());
    }

    @Test
    void droppedParcelsCloseTheirDescriptors() throws IOException, InterruptedException {
        try (FileInputStream input = open()) {
            for (int count = 0; count < 50; count++) {
                Parcel.obtain().writeFileDescriptor(input.getFD());
            }
        }
        for (int attempt = 0; attempt < 600 && opened() > 0; attempt++) {
            System.gc();
            Thread.sleep(50);
        }
        assertEquals(0, opened());
    }

    @Test
    void recycledWhileItIsWritten() throws IOException, InterruptedException {
        try (FileInputStream input = open()) {
            FileDescriptor descriptor = input.getFD();
            for (int round = 0; round < 100; round++) {
                Parcel shared = Parcel.obtain();
                Thread writer = new Thread(() -> {
                    try {
                        for (int count = 0; count < 20; count++) {
                            shared.writeFileDescriptor(descriptor);
                        }
                    } catch (IllegalStateException exception) {
                        // It was recycled.
                    }
                });
                writer.start();
                shared.recycle();
                writer.join();
                assertThrows(IllegalStateException.class, shared::dataSize);
            }
        }
        // Nothing is closed by number, so other descriptors live; and none is left.
        for (int attempt = 0; attempt < 600 && opened() > 0; attempt++) {
            System.gc();
            Thread.sleep(50);
        }
        assertEquals(0, opened());
    }
}
