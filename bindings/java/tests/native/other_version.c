/* The native library of another version of the jar. */
#include <jni.h>

JNIEXPORT jstring JNICALL Java_android_os_NativeLibrary_version(JNIEnv *env, jclass class)
{
    (void)class;
    return (*env)->NewStringUTF(env, "9.9.9");
}
