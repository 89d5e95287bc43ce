/* Shows what Windows finds in a program: version, manifest, icon, and the text of each event of the event log.
 * For hack/test-windows-build, which runs it under Wine.
 * usage: show-resources PROGRAM [EVENT...], an EVENT being the number that is reported, such as 0x40000064. */
#include <stdio.h>
#include <stdlib.h>
#include <windows.h>

static void show_version(const char *program)
{
    static const char *names[] = { "FileDescription", "FileVersion", "OriginalFilename", "ProductName", "ProductVersion" };
    DWORD size = GetFileVersionInfoSizeA(program, NULL);
    void *block = malloc(size ? size : 1);
    VS_FIXEDFILEINFO *fixed;
    UINT length;
    if (!size || !GetFileVersionInfoA(program, 0, size, block) || !VerQueryValueA(block, "\\", (void **)&fixed, &length)) {
        printf("no version\n");
        return;
    }
    printf("version %u.%u.%u.%u\n", HIWORD(fixed->dwFileVersionMS), LOWORD(fixed->dwFileVersionMS),
           HIWORD(fixed->dwFileVersionLS), LOWORD(fixed->dwFileVersionLS));
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        char path[80], *text;
        snprintf(path, sizeof path, "\\StringFileInfo\\040904b0\\%s", names[i]);
        if (VerQueryValueA(block, path, (void **)&text, &length))
            printf("%s %s\n", names[i], text);
    }
    free(block);
}

static void show_event(HMODULE program, const char *number)
{
    const char *inserted[] = { "WHAT", "NODE", "REVISION", "RESOURCE" };
    char *text = NULL;
    if (FormatMessageA(FORMAT_MESSAGE_FROM_HMODULE | FORMAT_MESSAGE_ALLOCATE_BUFFER | FORMAT_MESSAGE_ARGUMENT_ARRAY, program,
                       strtoul(number, NULL, 0), 0, (char *)&text, 0, (va_list *)inserted))
        printf("event %s %s\n", number, text);
    else
        printf("event %s has no text\n", number);
    LocalFree(text);
}

int main(int count, char **arguments)
{
    HMODULE program = count > 1 ? LoadLibraryExA(arguments[1], NULL, LOAD_LIBRARY_AS_DATAFILE) : NULL;
    HRSRC manifest;
    if (!program) {
        fprintf(stderr, "show-resources: cannot open %s\n", count > 1 ? arguments[1] : "nothing");
        return 1;
    }
    show_version(arguments[1]);
    printf("icon %s\n", FindResourceA(program, MAKEINTRESOURCEA(1), (LPCSTR)RT_GROUP_ICON) ? "yes" : "no");
    manifest = FindResourceA(program, MAKEINTRESOURCEA(1), (LPCSTR)RT_MANIFEST);
    if (manifest)
        printf("%.*s\n", (int)SizeofResource(program, manifest), (char *)LockResource(LoadResource(program, manifest)));
    for (int i = 2; i < count; i++)
        show_event(program, arguments[i]);
    return 0;
}
