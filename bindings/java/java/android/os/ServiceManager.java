package android.os;

import java.util.Objects;

/**
 * Services by name. They are in a directory of the user's, the one that other languages use: no process manages them, and none
 * has to be started. The environment variable {@code ASHMEM_BINDER} can name another directory ({@code unix:///DIRECTORY}).
 *
 * <p>All methods throw
 * <ul>
 * <li>{@link IllegalArgumentException} for a name that is empty, longer than 127 bytes, or has other characters than letters,
 * digits and {@code _ - . /}, and for an address that is none;
 * <li>{@link UnsupportedOperationException} when {@code ASHMEM_BINDER} names the kernel's binder ({@code binder://}), which Java
 * programs cannot use;
 * <li>{@link SecurityException} when the directory, or what is met in it, is not the user's alone;
 * <li>{@link IllegalStateException} for other failures of the system.
 * </ul>
 */
public final class ServiceManager {
    private ServiceManager() {}

    /**
     * Serves an object under a name as long as this process lives. Unlike Android's this takes no name from another service.
     *
     * @throws IllegalStateException if a living process, this one included, has the name
     * @throws UnsupportedOperationException if the object is of another process
     */
    public static void addService(String name, IBinder service) {
        Objects.requireNonNull(name, "name");
        Objects.requireNonNull(service, "service");
        if (!(service instanceof Binder)) {
            throw new UnsupportedOperationException("add service " + name + ": the object is not of this process");
        }
        NativeLibrary.require();
        add(name, (Binder) service, ((Binder) service).id());
    }

    /** As {@link #addService(String, IBinder)}; there is nothing that is isolated here. */
    public static void addService(String name, IBinder service, boolean allowIsolated) {
        addService(name, service);
    }

    /**
     * A service, or null if there is none of that name within 5 seconds.
     *
     * @throws IllegalStateException if its process is there and does not let us in, being stopped for example; after 10 seconds
     */
    public static IBinder getService(String name) {
        Objects.requireNonNull(name, "name");
        NativeLibrary.require();
        return get(name);
    }

    /**
     * A service, or null if there is none of that name now.
     *
     * @throws IllegalStateException as {@link #getService}
     */
    public static IBinder checkService(String name) {
        Objects.requireNonNull(name, "name");
        NativeLibrary.require();
        return check(name);
    }

    /** Waits for a service as long as it takes. */
    public static IBinder waitForService(String name) {
        Objects.requireNonNull(name, "name");
        NativeLibrary.require();
        return await(name);
    }

    /** The names of all services whose process lives, sorted. */
    public static String[] listServices() {
        NativeLibrary.require();
        return list();
    }

    private static native void add(String name, Binder service, long id);

    private static native IBinder get(String name);

    private static native IBinder check(String name);

    private static native IBinder await(String name);

    private static native String[] list();
}
