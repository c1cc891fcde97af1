package shy.luo.ashmem;

import java.io.IOException;

import android.os.MemoryFile;
import android.os.ParcelFileDescriptor;
import android.os.RemoteException;
import android.os.ServiceManager;
import android.util.Log;

/**
 * What the activity of the original does, without its buttons. It looks for the service when it is needed first, and again after
 * a call has failed. Any thread may use it: reading goes on while a call to the service takes its time.
 */
final class MemoryClient {
    /** What the service is found as. */
    static final String NAME = "AnonymousSharedMemory";
    private static final String LOG_TAG = "shy.luo.ashmem.Client";
    /** Bytes of the service's memory. The value is in it with the highest byte first. */
    private static final int LENGTH = 4;

    private IMemoryService memoryService;
    /** The service's memory, in a mapping of this process that can only read. */
    private MemoryFile memoryFile;

    /**
     * The number that a text is.
     *
     * @throws NumberFormatException with a message for people
     */
    static int parse(String text) {
        try {
            return Integer.parseInt(text);
        } catch (NumberFormatException exception) {
            throw new NumberFormatException('"' + text + "\" is not an integer of 32 bits");
        }
    }

    /** The value, out of memory; asks nobody after the first time. */
    int read() throws IOException, RemoteException {
        byte[] buffer = new byte[LENGTH];
        getMemoryFile().readBytes(buffer, 0, 0, LENGTH);
        return (buffer[0] << 24) | ((buffer[1] & 0xFF) << 16) | ((buffer[2] & 0xFF) << 8) | (buffer[3] & 0xFF);
    }

    /** Asks the service to change the value. */
    void write(int value) throws RemoteException {
        IMemoryService service = getMemoryService();
        try {
            service.setValue(value);
        } catch (RemoteException | RuntimeException exception) {
            Log.i(LOG_TAG, "Failed to set value to memory service.");
            forget(service);
            throw exception;
        }
    }

    /** What happens when the value is written where it is. */
    void writeToMemory(int value) throws IOException, RemoteException {
        byte[] buffer = {(byte) (value >>> 24), (byte) (value >>> 16), (byte) (value >>> 8), (byte) value};
        getMemoryFile().writeBytes(buffer, 0, 0, LENGTH);
    }

    /** Looks for the service, unless it was found before. */
    void connect() throws RemoteException {
        getMemoryService();
    }

    private IMemoryService getMemoryService() throws RemoteException {
        synchronized (this) {
            if (memoryService != null) {
                return memoryService;
            }
        }
        IMemoryService found = IMemoryService.Stub.asInterface(ServiceManager.getService(NAME));
        Log.i(LOG_TAG, found != null ? "Succeed to get memory service." : "Failed to get memory service.");
        if (found == null) {
            throw new RemoteException("there is no service " + NAME);
        }
        synchronized (this) {
            memoryService = found;
            // Its memory is another one. The old one is closed when nobody reads it any more.
            memoryFile = null;
        }
        return found;
    }

    private MemoryFile getMemoryFile() throws IOException, RemoteException {
        synchronized (this) {
            if (memoryFile != null) {
                return memoryFile;
            }
        }
        IMemoryService service = getMemoryService();
        MemoryFile file;
        try (ParcelFileDescriptor descriptor = service.getFileDescriptor()) {
            if (descriptor == null) {
                throw new IOException("the service has no memory");
            }
            file = new MemoryFile(descriptor.getFileDescriptor(), LENGTH, "r");
        } catch (IOException | RemoteException | RuntimeException exception) {
            Log.i(LOG_TAG, "Failed to get file descriptor from memory service.");
            forget(service);
            throw exception;
        }
        synchronized (this) {
            if (memoryService == service) {
                memoryFile = file;
            }
        }
        return file;
    }

    /** The next call looks for it again. What was read of it stays readable until then. */
    private synchronized void forget(IMemoryService service) {
        if (memoryService == service) {
            memoryService = null;
        }
    }
}
