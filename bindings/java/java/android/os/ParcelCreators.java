package android.os;

import java.lang.reflect.Field;
import java.lang.reflect.Modifier;

/** The {@code CREATOR}s of classes that a parcel names. */
final class ParcelCreators {
    private static final ClassValue<Parcelable.Creator<?>> CREATORS = new ClassValue<>() {
        @Override
        protected Parcelable.Creator<?> computeValue(Class<?> type) {
            return creator(type);
        }
    };

    private ParcelCreators() {}

    /**
     * The creator of a class. No code of a class runs before it is known to be a {@link Parcelable} and a {@code required}.
     *
     * @throws BadParcelableException if there is no such class or it has no usable {@code CREATOR}
     */
    static Parcelable.Creator<?> find(String name, ClassLoader loader, Class<?> required) {
        Class<?> type;
        try {
            type = Class.forName(name, false, loader == null ? Parcel.class.getClassLoader() : loader);
        } catch (ClassNotFoundException | LinkageError error) {
            throw new BadParcelableException("there is no class " + name, error);
        }
        if (!Parcelable.class.isAssignableFrom(type)) {
            throw new BadParcelableException(name + " does not implement Parcelable");
        }
        if (!required.isAssignableFrom(type)) {
            throw new BadParcelableException(name + " is no " + required.getName());
        }
        return CREATORS.get(type);
    }

    private static Parcelable.Creator<?> creator(Class<?> type) {
        try {
            Field field = type.getField("CREATOR");
            if (!Modifier.isStatic(field.getModifiers())) {
                throw new BadParcelableException("the CREATOR of " + type.getName() + " is not static");
            }
            if (!Parcelable.Creator.class.isAssignableFrom(field.getType())) {
                throw new BadParcelableException("the CREATOR of " + type.getName() + " is no Parcelable.Creator");
            }
            Parcelable.Creator<?> creator = (Parcelable.Creator<?>) field.get(null);
            if (creator == null) {
                throw new BadParcelableException("the CREATOR of " + type.getName() + " is null");
            }
            return creator;
        } catch (NoSuchFieldException | IllegalAccessException exception) {
            throw new BadParcelableException(type.getName() + " has no public static CREATOR", exception);
        } catch (LinkageError error) {
            throw new BadParcelableException(type.getName() + " cannot be initialized", error);
        }
    }
}
