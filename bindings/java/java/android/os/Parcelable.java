package android.os;

/**
 * An object that can travel in a {@link Parcel}. Its class has a public static field {@code CREATOR}, a {@link Creator} that
 * makes such an object of what {@link #writeToParcel} has written.
 */
public interface Parcelable {
    /** For {@link #writeToParcel}: the object is a result, and its resources may be released once they are written. */
    int PARCELABLE_WRITE_RETURN_VALUE = 0x0001;
    /** A bit of {@link #describeContents()}: the object holds a descriptor. */
    int CONTENTS_FILE_DESCRIPTOR = 0x0001;

    /** Which special objects this one holds: 0 or {@link #CONTENTS_FILE_DESCRIPTOR}. */
    int describeContents();

    /**
     * Writes this object.
     *
     * @param flags 0 or {@link #PARCELABLE_WRITE_RETURN_VALUE}
     */
    void writeToParcel(Parcel dest, int flags);

    /** Makes objects of a class, and arrays of them. */
    interface Creator<T> {
        /** Reads an object that {@link #writeToParcel} has written. */
        T createFromParcel(Parcel source);

        /** An array of nulls. */
        T[] newArray(int size);
    }

    /** A {@link Creator} that is told the class loader that the reader has asked for. */
    interface ClassLoaderCreator<T> extends Creator<T> {
        /** Reads an object that {@link #writeToParcel} has written. */
        T createFromParcel(Parcel source, ClassLoader loader);
    }
}
