package ashmem.test;

import static ashmem.test.Assert.assertEquals;
import static ashmem.test.Assert.assertFalse;
import static ashmem.test.Assert.assertSame;
import static ashmem.test.Assert.assertThrows;

import android.os.Binder;
import android.os.Parcel;
import android.os.Parcelable;
import java.io.FileDescriptor;
import java.util.Arrays;

/** A value of several parts is written whole or not at all. */
public final class ParcelFailedWriteTest {
    private final Parcel parcel = Parcel.obtain();

    /** Writes two things and a descriptor, and then throws. */
    public static final class Failing extends ParcelParcelableTest.Nothing {
        @Override
        public void writeToParcel(Parcel dest, int flags) {
            dest.writeInt(1);
            dest.writeStrongBinder(new Binder());
            dest.writeFileDescriptor(FileDescriptor.in);
            dest.writeLong(2);
            throw new UnsupportedOperationException("in the middle");
        }
    }

    private void assertNothingIsWritten(Assert.Action action) {
        int size = parcel.dataSize();
        int position = parcel.dataPosition();
        assertThrows(UnsupportedOperationException.class, action);
        assertEquals(size, parcel.dataSize());
        assertEquals(position, parcel.dataPosition());
        assertFalse(parcel.hasFileDescriptors());
    }

    @Test
    void aWriteThatThrowsLeavesNothing() {
        Failing failing = new Failing();
        ParcelParcelableTest.Number number = new ParcelParcelableTest.Number(1, 2);
        Parcelable[] several = {number, failing};
        Exception talkative = new IllegalStateException() {
            private static final long serialVersionUID = 1L;

            @Override
            public String getMessage() {
                throw new UnsupportedOperationException();
            }
        };
        Assert.Action[] writes = {
            () -> parcel.writeTypedObject(failing, 0),
            () -> parcel.writeParcelable(failing, 0),
            () -> parcel.writeTypedArray(several, 0),
            () -> parcel.writeTypedList(Arrays.asList(several), 0),
            () -> parcel.writeParcelableArray(several, 0),
            () -> parcel.writeParcelableList(Arrays.asList(several), 0),
            () -> parcel.writeException(talkative),
        };
        for (Assert.Action write : writes) {
            parcel.setDataSize(0);
            assertNothingIsWritten(write);
            parcel.writeInt(7);
            parcel.writeStrongBinder(null);
            assertNothingIsWritten(write);
            // In the middle, and behind the end.
            parcel.setDataPosition(4);
            assertNothingIsWritten(write);
            parcel.setDataPosition(20);
            assertNothingIsWritten(write);
            parcel.setDataPosition(0);
            assertEquals(7, parcel.readInt());
            // No object is in the way that nobody knows of.
            parcel.setDataPosition(4);
            parcel.writeTypedObject(number, 3);
            parcel.setDataPosition(4);
            assertEquals(1, parcel.readTypedObject(ParcelParcelableTest.Number.CREATOR).value);
        }
        // Objects that were there before stay.
        Binder binder = new Binder();
        parcel.setDataSize(0);
        parcel.writeInt(7);
        parcel.writeStrongBinder(binder);
        assertNothingIsWritten(() -> parcel.writeTypedObject(failing, 0));
        parcel.setDataPosition(4);
        assertSame(binder, parcel.readStrongBinder());
    }
}
