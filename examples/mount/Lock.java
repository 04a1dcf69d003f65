import static java.nio.charset.StandardCharsets.UTF_8;
import static java.nio.file.StandardOpenOption.CREATE;
import static java.nio.file.StandardOpenOption.CREATE_NEW;
import static java.nio.file.StandardOpenOption.WRITE;

import java.io.IOException;
import java.io.OutputStream;
import java.nio.file.FileAlreadyExistsException;
import java.nio.file.Files;
import java.nio.file.NoSuchFileException;
import java.nio.file.Path;

/**
 * A lock in Java: a file in a folder where relockfs is mounted.
 *
 * <pre>
 *   java Lock.java DIR NAME acquire    wait for the lock, hold it until a line is read
 *   java Lock.java DIR NAME try        the same, but say "busy" instead of waiting
 *   java Lock.java DIR NAME look       who has it?
 * </pre>
 *
 * To open DIR/NAME for writing is to acquire the lock NAME; to close it, or to end, even by
 * kill -9, is to release it.
 *
 * <p>FileChannel.open() does as well, but a channel is closed, and its lock released, when its
 * thread is interrupted while it writes; a stream of Files is not.
 */
class Lock {
    /** Waits for its turn; other threads go on. Thread.interrupt() does not end the wait. */
    static OutputStream acquire(Path path) throws IOException {
        return Files.newOutputStream(path, CREATE, WRITE);
    }

    /** Throws FileAlreadyExistsException if somebody has the lock. */
    static OutputStream attempt(Path path) throws IOException {
        return Files.newOutputStream(path, CREATE_NEW, WRITE);
    }

    static void hold(OutputStream lock) throws IOException {
        lock.write("from Java\n".getBytes(UTF_8)); // what others read there
        System.out.println("held");
        int read;
        do {
            read = System.in.read();
        } while (read != '\n' && read != -1);
    }

    static void look(Path dir, Path path) throws IOException {
        try {
            System.out.print(Files.readString(path));
        } catch (NoSuchFileException nobody) {
            Files.getLastModifiedTime(dir); // throws if it is the folder that is not there
            System.out.println("free");
        }
    }

    // A stream that nothing refers to any more is closed by the garbage collector, and its lock
    // released: `try (...)` is what keeps it, and closes it.
    static void run(Path dir, Path path, String action) throws IOException {
        switch (action) {
            case "acquire" -> {
                try (OutputStream lock = acquire(path)) {
                    hold(lock);
                }
            }
            case "try" -> {
                try (OutputStream lock = attempt(path)) {
                    hold(lock);
                } catch (FileAlreadyExistsException busy) {
                    System.out.println("busy");
                }
            }
            case "look" -> look(dir, path);
            default -> throw new IOException("no such action: " + action);
        }
    }

    public static void main(String[] args) {
        if (args.length != 3) {
            System.err.println("usage: Lock DIR NAME acquire|try|look");
            System.exit(2);
        }
        Path dir = Path.of(args[0]);
        try {
            run(dir, dir.resolve(args[1]), args[2]);
        } catch (IOException error) {
            System.err.println("Lock: " + error);
            System.exit(1);
        }
    }
}
