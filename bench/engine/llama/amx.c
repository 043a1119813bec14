// Ends well where tiles of numbers (AMX) can be used: some kernels keep them shut though the processor has them, and a program
// that was built for the processor then dies of a protection fault.
#include <immintrin.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { ARCH_REQ_XCOMP_PERM = 0x1023, TILE_DATA = 18 };

int main(void) {
    if (syscall(SYS_arch_prctl, ARCH_REQ_XCOMP_PERM, TILE_DATA) != 0) {
        return 1;
    }
    // Palette 1; tile 0 has 16 rows of 64 bytes.
    unsigned char config[64] __attribute__((aligned(64))) = {1};
    config[16] = 64;
    config[48] = 16;
    unsigned char rows[16 * 64] = {0};
    _tile_loadconfig(config);
    _tile_loadd(0, rows, 64);
    _tile_stored(0, rows, 64);
    _tile_release();
    return 0;
}
