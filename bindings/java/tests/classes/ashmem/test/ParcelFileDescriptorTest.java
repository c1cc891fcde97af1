package ashmem.test;

import static ashmem.test.Assert.assertEquals;
import static ashmem.test.Assert.assertFalse;
import static ashmem.test.Assert.assertSame;
import static ashmem.test.Assert.assertThrows;
import static ashmem.test.Assert.assertTrue;

import android.os.BadParcelableException;
import android.os.MemoryFile;
import android.os.Parcel;
import android.os.ParcelFileDescriptor;
import android.os.Parcelable;
import android.os.SharedMemory;
import java.io.File;
import java.io.FileDescriptor;
import java.io.FileInputStream;
import java.io.FileNotFoundException;
import java.io.FileOutputStream;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;

final class ParcelFileDescriptorTest {
    /** The lowest number that is free. Nothing else runs while this test does, but the JVM may open something once. */
    private static boolean isOpen(int number) {
        return Files.exists(Path.of("/proc/self/fd/" + number), java.nio.file.LinkOption.NOFOLLOW_LINKS);
    }

    @Test
    void opensFiles() throws IOException {
        Path directory = Files.createTempDirectory("ashmem");
        File file = directory.resolve("file").toFile();
        int create = ParcelFileDescriptor.MODE_READ_WRITE | ParcelFileDescriptor.MODE_CREATE;
        assertThrows(FileNotFoundException.class, () -> ParcelFileDescriptor.open(file, ParcelFileDescriptor.MODE_READ_ONLY));
        try (ParcelFileDescriptor opened = ParcelFileDescriptor.open(file, create)) {
            new FileOutputStream(opened.getFileDescriptor()).write(new byte[] {1, 2, 3});
            assertEquals(3L, opened.getStatSize());
        }
        try (ParcelFileDescriptor opened = ParcelFileDescriptor.open(file, ParcelFileDescriptor.parseMode("wa"))) {
            new FileOutputStream(opened.getFileDescriptor()).write(4);
            assertThrows(IOException.class, () -> new FileInputStream(opened.getFileDescriptor()).read());
        }
        assertEquals(new byte[] {1, 2, 3, 4}, Files.readAllBytes(file.toPath()));
        ParcelFileDescriptor.open(file, ParcelFileDescriptor.parseMode("rwt")).close();
        assertEquals(0, file.length());
        assertThrows(IllegalArgumentException.class, () -> ParcelFileDescriptor.open(file, 0));
        assertThrows(IllegalArgumentException.class, () -> ParcelFileDescriptor.open(file, ParcelFileDescriptor.MODE_CREATE));
        assertThrows(FileNotFoundException.class,
                () -> ParcelFileDescriptor.open(new File("a\0b"), ParcelFileDescriptor.MODE_READ_ONLY));
        Files.delete(file.toPath());
        Files.delete(directory);
    }

    @Test
    void modes() {
        assertEquals(ParcelFileDescriptor.MODE_READ_ONLY, ParcelFileDescriptor.parseMode("r"));
        assertEquals(ParcelFileDescriptor.parseMode("w"), ParcelFileDescriptor.parseMode("wt"));
        assertEquals(0x38000000, ParcelFileDescriptor.parseMode("rw"));
        assertEquals(0x3C000000, ParcelFileDescriptor.parseMode("rwt"));
        assertEquals(0x2A000000, ParcelFileDescriptor.parseMode("wa"));
        for (String mode : new String[] {"", "x", "R", "rw "}) {
            assertThrows(IllegalArgumentException.class, () -> ParcelFileDescriptor.parseMode(mode));
        }
    }

    @Test
    void closedOnceAndForAll() throws IOException {
        ParcelFileDescriptor[] pipe = ParcelFileDescriptor.createPipe();
        FileDescriptor descriptor = pipe[0].getFileDescriptor();
        assertSame(descriptor, pipe[0].getFileDescriptor());
        assertTrue(descriptor.valid());
        pipe[0].close();
        pipe[0].close();
        assertFalse(descriptor.valid());
        ParcelFileDescriptor closed = pipe[0];
        Assert.Action[] refused = {
            closed::getFileDescriptor, closed::getFd, closed::detachFd, closed::dup, closed::getStatSize,
            () -> new ParcelFileDescriptor.AutoCloseInputStream(closed).close(),
            () -> new ParcelFileDescriptor.AutoCloseOutputStream(closed).close(),
            () -> SharedMemory.fromFileDescriptor(closed),
        };
        for (Assert.Action action : refused) {
            assertEquals("Already closed", assertThrows(IllegalStateException.class, action).getMessage());
        }
        Parcel parcel = Parcel.obtain();
        assertThrows(IllegalStateException.class, () -> closed.writeToParcel(parcel, 0));
        assertEquals(0, parcel.dataSize());
        parcel.recycle();
        assertThrows(IOException.class, () -> ParcelFileDescriptor.dup(descriptor));
        pipe[1].close();
    }

    @Test
    void duplicates() throws IOException {
        ParcelFileDescriptor[] pipe = ParcelFileDescriptor.createPipe();
        ParcelFileDescriptor[] writers = {
            pipe[1].dup(), ParcelFileDescriptor.dup(pipe[1].getFileDescriptor()), ParcelFileDescriptor.fromFd(pipe[1].getFd()),
        };
        pipe[1].close();
        FileInputStream reader = new FileInputStream(pipe[0].getFileDescriptor());
        for (ParcelFileDescriptor writer : writers) {
            new FileOutputStream(writer.getFileDescriptor()).write(writer.getFd());
            assertEquals(writer.getFd(), reader.read());
            writer.close();
        }
        assertEquals(-1, reader.read());
        pipe[0].close();
        assertThrows(NullPointerException.class, () -> ParcelFileDescriptor.dup((FileDescriptor) null));
        assertThrows(IOException.class, () -> ParcelFileDescriptor.dup(new FileDescriptor()));
        for (int number : new int[] {-1, Integer.MIN_VALUE, Integer.MAX_VALUE, 1 << 20}) {
            assertThrows(IOException.class, () -> ParcelFileDescriptor.fromFd(number));
            assertThrows(IllegalArgumentException.class, () -> ParcelFileDescriptor.adoptFd(number));
        }
    }

    @Test
    void handsNumbersOver() throws IOException {
        ParcelFileDescriptor[] pipe = ParcelFileDescriptor.createPipe();
        FileDescriptor descriptor = pipe[1].getFileDescriptor();
        int number = pipe[1].getFd();
        assertEquals(number, pipe[1].detachFd());
        assertFalse(descriptor.valid());
        assertTrue(isOpen(number));
        assertThrows(IllegalStateException.class, pipe[1]::detachFd);
        pipe[1].close();
        ParcelFileDescriptor adopted = ParcelFileDescriptor.adoptFd(number);
        assertEquals(number, adopted.getFd());
        adopted.close();
        assertFalse(isOpen(number));
        pipe[0].close();
    }

    @Test
    void sizes() throws IOException {
        ParcelFileDescriptor[] pipe = ParcelFileDescriptor.createPipe();
        assertEquals(-1L, pipe[0].getStatSize());
        pipe[0].close();
        pipe[1].close();
        MemoryFile file = new MemoryFile(null, 12345);
        ParcelFileDescriptor sent = file.getParcelFileDescriptor();
        assertEquals(12345L, sent.getStatSize());
        file.allowPurging(true);
        assertEquals(12345L, sent.getStatSize());
        sent.close();
        file.close();
    }

    @Test
    void streamsCloseIt() throws IOException {
        ParcelFileDescriptor[] pipe = ParcelFileDescriptor.createPipe();
        ParcelFileDescriptor.AutoCloseOutputStream output = new ParcelFileDescriptor.AutoCloseOutputStream(pipe[1]);
        output.write(7);
        output.close();
        output.close();
        assertThrows(IllegalStateException.class, pipe[1]::getFd);
        ParcelFileDescriptor.AutoCloseInputStream input = new ParcelFileDescriptor.AutoCloseInputStream(pipe[0]);
        assertEquals(7, input.read());
        assertEquals(-1, input.read());
        input.close();
        assertThrows(IllegalStateException.class, pipe[0]::getFd);
    }

    @Test
    void aStreamThatClosesItUnderTheOwner() throws IOException {
        ParcelFileDescriptor[] pipe = ParcelFileDescriptor.createPipe();
        int number = pipe[0].getFd();
        new FileInputStream(pipe[0].getFileDescriptor()).close();
        // Somebody else has the number now.
        ParcelFileDescriptor other = pipe[1].dup();
        assertEquals(number, other.getFd());
        assertThrows(IllegalStateException.class, pipe[0]::getFd);
        assertThrows(IllegalStateException.class, pipe[0]::detachFd);
        assertThrows(IOException.class, () -> ParcelFileDescriptor.dup(new FileInputStream(other.getFileDescriptor()) {
            FileDescriptor closed() throws IOException {
                FileDescriptor descriptor = getFD();
                close();
                return descriptor;
            }
        }.closed()));
        pipe[0].close();
        other.close();
        pipe[1].close();
    }

    @Test
    void travelsInAParcel() throws IOException {
        ParcelFileDescriptor[] pipe = ParcelFileDescriptor.createPipe();
        assertEquals(Parcelable.CONTENTS_FILE_DESCRIPTOR, pipe[0].describeContents());
        Parcel parcel = Parcel.obtain();
        pipe[1].writeToParcel(parcel, 0);
        assertTrue(pipe[1].getFd() >= 0);
        pipe[1].writeToParcel(parcel, Parcelable.PARCELABLE_WRITE_RETURN_VALUE);
        assertThrows(IllegalStateException.class, pipe[1]::getFd);
        parcel.setDataPosition(0);
        assertEquals(0, parcel.readInt());
        parcel.setDataPosition(0);
        for (int i = 1; i <= 2; i++) {
            try (ParcelFileDescriptor received = ParcelFileDescriptor.CREATOR.createFromParcel(parcel)) {
                new FileOutputStream(received.getFileDescriptor()).write(i);
            }
        }
        parcel.recycle();
        FileInputStream reader = new FileInputStream(pipe[0].getFileDescriptor());
        assertEquals(1, reader.read());
        assertEquals(2, reader.read());
        assertEquals(-1, reader.read());
        pipe[0].close();
        assertEquals(2, ParcelFileDescriptor.CREATOR.newArray(2).length);
    }

    @Test
    void aParcelWithSomethingElse() {
        Parcel parcel = Parcel.obtain();
        assertThrows(BadParcelableException.class, () -> ParcelFileDescriptor.CREATOR.createFromParcel(parcel));
        for (int first : new int[] {0, 1, -1}) {
            parcel.setDataSize(0);
            parcel.setDataPosition(0);
            parcel.writeInt(first);
            parcel.writeInt(0);
            parcel.writeInt(0);
            parcel.setDataPosition(0);
            assertThrows(BadParcelableException.class, () -> ParcelFileDescriptor.CREATOR.createFromParcel(parcel));
        }
        parcel.recycle();
    }
}
