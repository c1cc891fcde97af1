package android.os;

import java.io.IOException;
import java.io.InputStream;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardCopyOption;
import java.util.Locale;

/**
 * Loads {@code libashmem_jni.so}: the one that the system property {@code ashmem.library.path} names, or the one in the jar for
 * this processor, which is unpacked into {@code java.io.tmpdir} for that moment.
 */
final class NativeLibrary {
    static final String PATH_PROPERTY = "ashmem.library.path";
    /** The package's version in Cargo.toml. */
    static final String VERSION = "0.1.0";
    private static final String FILE_NAME = "libashmem_jni.so";

    private static volatile boolean loaded;

    private NativeLibrary() {}

    /**
     * Makes the native methods of this package usable. A class with native methods calls it before the first one; no static
     * initializer does, so that every use fails in the same way when the library cannot be had.
     *
     * @throws UnsatisfiedLinkError if the library is missing, is no library for this processor, or is not of this version
     */
    static void require() {
        if (!loaded) {
            load();
        }
    }

    private static synchronized void load() {
        if (loaded) {
            return;
        }
        String path = System.getProperty(PATH_PROPERTY);
        if (path != null) {
            load(Path.of(path).toAbsolutePath(), "");
        } else {
            loadFromJar();
        }
        loaded = true;
    }

    /** @param hint what to say when the system cannot load it */
    private static void load(Path file, String hint) {
        if (!Files.isRegularFile(file)) {
            throw new UnsatisfiedLinkError(file + ": there is no such file (" + PATH_PROPERTY + ")");
        }
        ElfFile.requireWhole(file);
        try {
            System.load(file.toString());
        } catch (UnsatisfiedLinkError error) {
            throw new UnsatisfiedLinkError(error.getMessage() + hint);
        } catch (IllegalCallerException exception) {
            UnsatisfiedLinkError error = new UnsatisfiedLinkError("native access is not allowed to ashmem.jar; "
                    + "--enable-native-access=ALL-UNNAMED does, or =ashmem where it is a module: " + exception.getMessage());
            error.initCause(exception);
            throw error;
        }
        String version;
        try {
            version = version();
        } catch (UnsatisfiedLinkError error) {
            throw new UnsatisfiedLinkError(file + " is not the native library of ashmem.jar");
        }
        if (!version.equals(VERSION)) {
            throw new UnsatisfiedLinkError(file + " has version " + version + ", ashmem.jar has " + VERSION);
        }
    }

    private static void loadFromJar() {
        String resource = "/native/linux-" + processor() + "/" + FILE_NAME;
        try (InputStream library = NativeLibrary.class.getResourceAsStream(resource)) {
            if (library == null) {
                throw new UnsatisfiedLinkError("ashmem.jar has no native library for " + System.getProperty("os.name") + " on "
                        + System.getProperty("os.arch") + " (" + resource + "); the property " + PATH_PROPERTY + " can name one");
            }
            // The property may be empty.
            Path directory = Files.createTempDirectory("ashmem").toAbsolutePath();
            Path file = directory.resolve(FILE_NAME);
            try {
                Files.copy(library, file, StandardCopyOption.REPLACE_EXISTING);
                load(file, " (unpacked into java.io.tmpdir, which must allow executing; the property " + PATH_PROPERTY
                        + " can name a library that is elsewhere)");
            } finally {
                // The mapping needs no name.
                Files.deleteIfExists(file);
                Files.deleteIfExists(directory);
            }
        } catch (IOException exception) {
            UnsatisfiedLinkError error =
                    new UnsatisfiedLinkError("the native library of ashmem.jar cannot be unpacked: " + exception);
            error.initCause(exception);
            throw error;
        }
    }

    /** As Rust calls it. */
    private static String processor() {
        String name = System.getProperty("os.arch").toLowerCase(Locale.ROOT);
        return name.equals("amd64") ? "x86_64" : name;
    }

    private static native String version();
}
