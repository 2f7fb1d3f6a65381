// A CUDA device on the processor, for kernels written as compiler/lower/cuda/kernels/common.cuh says. The threads of a
// block are fibers: each runs until it waits, at a barrier or for its warp, and goes on when all have come. Every access
// to memory is checked. Threads and blocks run in the order of their numbers or in the opposite one: a kernel whose results
// depend on it lacks a barrier. Shared memory starts as not-a-numbers.
//
// What is not emulated: memory that another thread sees late, and atomic operations other than atomicInc.
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <ucontext.h>

#define DARTSC_EMULATION 1
#define __device__
#define __constant__

struct float2 {
  float x, y;
};

struct float4 {
  float x, y, z, w;
};
static inline float4 make_float4(float x, float y, float z, float w) { return float4{x, y, z, w}; }
static inline unsigned __float_as_uint(float x) {
  unsigned u;
  memcpy(&u, &x, 4);
  return u;
}
static inline float __uint_as_float(unsigned u) {
  float x;
  memcpy(&x, &u, 4);
  return x;
}
static inline float rsqrtf(float x) { return 1.0f / sqrtf(x); }

typedef long long i64_t;

template <int Words, class... K> struct Together; // see common.cuh

namespace emulation {

constexpr int Threads = 256, StackBytes = 128 << 10, MessageBytes = 256, WarpThreads = 32;

// Launch is what the host passes beside the arguments, and with counting what it gets back: see count.
struct Launch {
  int blocks, shared_bytes, argument_bytes, reversed, counting;
  i64_t wavefronts, least;
};

enum State { Fresh, Ready, AtBarrier, AtWarp, Done };

struct Fiber {
  jmp_buf at;
  ucontext_t context;
  char* stack;
  bool begun; // its stack holds a running body, at `at`
};

static Fiber fibers[Threads];
static Fiber* idle[Threads]; // fibers without a thread
static int idle_count;
static Fiber* fiber_of[Threads];
static State state[Threads];
static int line[Threads];     // where a thread waits
static int vote[Threads];     // what it brings to a barrier
static double exchange[2][Threads]; // what it brings to its warp, twice so that a fast lane does not disturb a slow one
static int parity[Threads];
static int current, started, reversed, block_index, barrier_count, barrier_any;
static jmp_buf scheduler;
static ucontext_t scheduler_context;
static char* message;
static bool failed;

static const void* kernel;
static void (*body)(const void*, int);
static char* shared_base;
static int shared_bytes;

// Copy is one that a thread has asked for; until it waits for it, what is there is not a number.
struct Copy {
  char* to;
  const char* from;
  int bytes;
};
constexpr int MostCopies = 64;
static Copy copies[Threads][MostCopies];
static int copy_count[Threads];

// Touch is an access of a thread to shared memory.
struct Touch {
  unsigned at;
  int bytes;
};
static Touch* touches[Threads];
static int touch_count[Threads], touch_room[Threads];
static bool counting;

static void touch(const void* p, int bytes) {
  i64_t at = (const char*)p - shared_base;
  if (!counting || at < 0 || at >= shared_bytes) return;
  int n = touch_count[current]++;
  if (n == touch_room[current]) touches[current] = (Touch*)realloc(touches[current], (touch_room[current] = 2 * n + 1024) * sizeof(Touch));
  touches[current][n] = Touch{(unsigned)at, bytes};
}

// count adds what the accesses of a block to packs in shared memory cost. The nth of all lanes of a warp are taken for one instruction, of which 128 bytes at a time
// take as many wavefronts as there are words that lie in the same of 32 memory banks, at least one.
static void count(Launch* l) {
  for (int w = 0; w < Threads; w += WarpThreads) {
    for (int k = 0;; k++) {
      bool all = true;
      for (int t = w; t < w + WarpThreads; t++) all = all && k < touch_count[t];
      if (!all) break;
      int lanes = 128 / touches[w][k].bytes < WarpThreads ? 128 / touches[w][k].bytes : WarpThreads;
      for (int first = w; first < w + WarpThreads; first += lanes) {
        unsigned words[32][WarpThreads];
        int there[32] = {}, most = 1;
        for (int t = first; t < first + lanes; t++) {
          for (unsigned word = touches[t][k].at / 4; word < (touches[t][k].at + touches[t][k].bytes + 3) / 4; word++) {
            int bank = word % 32, i = 0;
            while (i < there[bank] && words[bank][i] != word) i++;
            if (i == there[bank] && i < WarpThreads) words[bank][there[bank]++] = word;
            if (there[bank] > most) most = there[bank];
          }
        }
        l->wavefronts += most, l->least++;
      }
    }
  }
}

static int nth(int i) { return reversed ? Threads - 1 - i : i; }

// fail reports the first thing that a kernel does wrong, and ends it.
[[noreturn]] static void fail(const char* format, ...) {
  int n = snprintf(message, MessageBytes, "block %d, thread %d: ", block_index, current);
  va_list list;
  va_start(list, format);
  vsnprintf(message + n, MessageBytes - n, format, list);
  va_end(list);
  failed = true;
  _longjmp(scheduler, 1);
}

// A fiber takes one thread after the other for as long as they do not wait.
static void fiber_main() {
  for (;;) {
    Fiber* own = fiber_of[current];
    body(kernel, block_index);
    state[current] = Done;
    if (started < Threads) {
      current = nth(started++);
      fiber_of[current] = own;
      continue;
    }
    idle[idle_count++] = own;
    own->begun = true;
    if (_setjmp(own->at) == 0) _longjmp(scheduler, 1);
  }
}

static void wait(State s, int where) {
  state[current] = s;
  line[current] = where;
  if (_setjmp(fiber_of[current]->at) == 0) _longjmp(scheduler, 1);
}

static void resume(int t) {
  current = t;
  state[t] = Ready;
  Fiber* f = fiber_of[t];
  if (_setjmp(scheduler) == 0) {
    if (f->begun) _longjmp(f->at, 1);
    f->begun = true;
    getcontext(&f->context);
    f->context.uc_stack.ss_sp = f->stack;
    f->context.uc_stack.ss_size = StackBytes;
    f->context.uc_link = nullptr;
    makecontext(&f->context, fiber_main, 0);
    swapcontext(&scheduler_context, &f->context);
  }
}

static void reset_fibers() {
  for (int i = 0; i < Threads; i++) {
    if (fibers[i].stack == nullptr) fibers[i].stack = (char*)malloc(StackBytes);
    fibers[i].begun = false;
    idle[i] = &fibers[i];
  }
  idle_count = Threads;
}

// release_warps lets those warps go on whose threads have all come to one place; it returns whether there was one.
static bool release_warps() {
  bool any = false;
  for (int w = 0; w < Threads; w += WarpThreads) {
    int waiting = 0, first = -1;
    for (int t = w; t < w + WarpThreads; t++) {
      if (state[t] != AtWarp) continue;
      waiting++;
      if (first < 0) first = t;
      current = t;
      if (line[t] != line[first]) {
        snprintf(message, MessageBytes, "block %d: threads %d and %d of a warp wait in different places, lines %d and %d", block_index, first, t, line[first], line[t]);
        failed = true;
        return false;
      }
    }
    if (waiting == 0) continue;
    if (waiting != WarpThreads) {
      snprintf(message, MessageBytes, "block %d: %d of the %d threads of a warp exchange values, the others do not come", block_index, waiting, WarpThreads);
      failed = true;
      return false;
    }
    any = true;
    for (int i = 0; i < WarpThreads && !failed; i++) resume(reversed ? w + WarpThreads - 1 - i : w + i);
    if (failed) return false;
  }
  return any;
}

// release_barrier lets all threads go on; it returns false once they are done.
static bool release_barrier() {
  int waiting = 0, first = -1;
  barrier_count = barrier_any = 0;
  for (int t = 0; t < Threads; t++) {
    if (state[t] != AtBarrier) continue;
    waiting++;
    if (first < 0) first = t;
    barrier_count += vote[t] != 0;
    barrier_any |= vote[t] != 0;
    if (line[t] != line[first]) {
      snprintf(message, MessageBytes, "block %d: threads %d and %d wait at different barriers, lines %d and %d", block_index, first, t, line[first], line[t]);
      failed = true;
      return false;
    }
  }
  if (waiting == 0) return false;
  if (waiting != Threads) {
    snprintf(message, MessageBytes, "block %d: %d threads wait at the barrier of line %d, %d do not come", block_index, waiting, line[first], Threads - waiting);
    failed = true;
    return false;
  }
  for (int i = 0; i < Threads && !failed; i++) resume(nth(i));
  return !failed;
}

static void run_block(int block) {
  block_index = block;
  memset(shared_base, 0xff, shared_bytes);
  started = 0;
  for (int t = 0; t < Threads; t++) state[t] = Fresh, parity[t] = 0, copy_count[t] = 0, touch_count[t] = 0;
  while (started < Threads && !failed) {
    int t = nth(started++);
    fiber_of[t] = idle[--idle_count];
    resume(t);
  }
  while (!failed) {
    if (release_warps()) continue;
    if (failed || !release_barrier()) break;
  }
}

static int run(Launch* l, char* into) {
  message = into;
  failed = false;
  reversed = l->reversed;
  counting = l->counting;
  shared_bytes = l->shared_bytes;
  shared_base = (char*)aligned_alloc(64, (shared_bytes + 64) / 64 * 64);
  if (idle_count != Threads) reset_fibers();
  for (int b = 0; b < l->blocks && !failed; b++) {
    run_block(reversed ? l->blocks - 1 - b : b);
    if (counting) count(l);
  }
  if (failed) idle_count = 0;
  free(shared_base);
  return failed;
}

// Checked is memory of so many bytes.
template <class T> struct Checked {
  T* base;
  i64_t bytes;

  T& operator[](i64_t i) const {
    if (i < 0 || i >= bytes / (i64_t)sizeof(T)) fail("element %lld of %lld", i, bytes / (i64_t)sizeof(T));
    return base[i];
  }
};

template <class T> struct Plain { typedef T type; };
template <class T> struct Plain<const T> { typedef T type; };

static inline unsigned increment(unsigned* at, unsigned limit) {
  unsigned old = *at;
  *at = old >= limit ? 0 : old + 1;
  return old;
}

template <class T> static inline T shuffle(T v, int lane_mask, int where) {
  int own = current, p = parity[own];
  parity[own] = 1 - p;
  exchange[p][own] = v;
  wait(AtWarp, where);
  return (T)exchange[p][own ^ lane_mask];
}

static inline int barrier(int value, int where, bool count) {
  vote[current] = value;
  wait(AtBarrier, where);
  return count ? barrier_count : barrier_any;
}

template <class K> static void body_of(const void* k, int block) { ((const K*)k)->run(block); }

// complete says whether a kernel has all arguments: Together has room for more, since addresses are larger here.
template <class K> struct complete {
  static bool with(int bytes) { return bytes == (int)sizeof(K); }
};
template <int Words, class... K> struct complete<Together<Words, K...>> {
  static bool with(int bytes) { return 8 * Words <= bytes && bytes <= (int)sizeof(Together<Words, K...>); }
};

template <class K> static int launch(const void* arguments, Launch* l, char* into) {
  if (!complete<K>::with(l->argument_bytes)) {
    snprintf(into, MessageBytes, "has %d bytes of arguments, the kernel wants %d", l->argument_bytes, (int)sizeof(K));
    return 1;
  }
  kernel = arguments;
  body = body_of<K>;
  return run(l, into);
}

} // namespace emulation

template <class T> using In = emulation::Checked<const T>;
template <class T> using Out = emulation::Checked<T>;
template <class T> using Shared = emulation::Checked<T>;
struct Word {
  i64_t half[2];
};

template <class T> static inline Shared<T> shared(int offset, int count) {
  i64_t end = offset + (i64_t)count * (i64_t)sizeof(T);
  if (offset % 16 != 0 || end > emulation::shared_bytes) emulation::fail("shared memory from %d to %lld of %d bytes", offset, end, emulation::shared_bytes);
  return Shared<T>{(T*)(emulation::shared_base + offset), count * (i64_t)sizeof(T)};
}

template <class T> static inline float4 load4(const emulation::Checked<T>& p, i64_t i) {
  p[i + 3];
  const T* at = &p[i];
  if ((size_t)at % (4 * sizeof(T)) != 0) emulation::fail("four elements from %lld on are not aligned", i);
  emulation::touch(at, 4 * sizeof(T));
  return float4{at[0], at[1], at[2], at[3]};
}

template <class T> static inline void store4(const emulation::Checked<T>& p, i64_t i, float4 v) {
  p[i + 3];
  T* at = &p[i];
  if ((size_t)at % (4 * sizeof(T)) != 0) emulation::fail("four elements from %lld on are not aligned", i);
  emulation::touch(at, 4 * sizeof(T));
  at[0] = v.x, at[1] = v.y, at[2] = v.z, at[3] = v.w;
}

template <class T> static inline float2 load2(const emulation::Checked<T>& p, i64_t i) {
  p[i + 1];
  const T* at = &p[i];
  if ((size_t)at % (2 * sizeof(T)) != 0) emulation::fail("two elements from %lld on are not aligned", i);
  emulation::touch(at, 2 * sizeof(T));
  return float2{at[0], at[1]};
}

template <class T> static inline void store2(const emulation::Checked<T>& p, i64_t i, float x, float y) {
  p[i + 1] = y;
  if ((size_t)&p[i] % (2 * sizeof(T)) != 0) emulation::fail("two elements from %lld on are not aligned", i);
  emulation::touch(&p[i], 2 * sizeof(T));
  p[i] = x;
}

template <class T> static inline typename emulation::Plain<T>::type fresh(const emulation::Checked<T>& p, i64_t i) { return p[i]; }
template <class T> static inline float4 fresh4(const emulation::Checked<T>& p, i64_t i) { return load4(p, i); }

template <class T> static inline void ahead(const emulation::Checked<T>& p, i64_t i, int count) {
  p[i + count - 1];
  if ((size_t)&p[i] % 16 != 0 || count * sizeof(T) % 16 != 0) emulation::fail("%d elements from %lld on are not whole packs", count, i);
}

template <int N, class T> static inline void bring(const emulation::Checked<T>& to, i64_t at, const emulation::Checked<const T>& p, i64_t i, bool there) {
  using namespace emulation;
  constexpr int Bytes = N * (int)sizeof(T);
  to[at + N - 1];
  char* into = (char*)&to[at];
  const char* from = nullptr;
  if (there) p[i + N - 1], from = (const char*)&p[i];
  if ((size_t)into % Bytes != 0 || (size_t)from % Bytes != 0) fail("%d elements from %lld to %lld are not aligned", N, i, at);
  if (copy_count[current] == MostCopies) fail("asks for more than %d copies at once", MostCopies);
  copies[current][copy_count[current]++] = Copy{into, from, Bytes};
  memset(into, 0xff, Bytes);
  touch(into, Bytes);
}
static inline void arrived() {
  using namespace emulation;
  for (int i = 0; i < copy_count[current]; i++) {
    const Copy& c = copies[current][i];
    if (c.from == nullptr) {
      memset(c.to, 0, c.bytes);
    } else {
      memcpy(c.to, c.from, c.bytes);
    }
  }
  copy_count[current] = 0;
}

static inline int thread() { return emulation::current; }
static inline void in_order() {}

static inline float to_tf32(float x) { return __uint_as_float((__float_as_uint(x) + 0x1000) & ~0x1fffu); }

// multiply_tf32: every lane brings its parts of both factors and takes its part of the product. Tensor cores leave out the last 13 bits.
static inline void multiply_tf32(float (&c)[4], const float (&a)[4], const float (&b)[2]) {
  static float rows[emulation::Threads / 32][16][8], columns[emulation::Threads / 32][8][8];
  int own = emulation::current, w = own / 32, g = own % 32 / 4, t = own % 4;
  emulation::shuffle(0, 0, -1); // all have read what is there
  for (int i = 0; i < 4; i++) rows[w][g + i % 2 * 8][t + i / 2 * 4] = __uint_as_float(__float_as_uint(a[i]) & ~0x1fffu);
  for (int i = 0; i < 2; i++) columns[w][t + i * 4][g] = __uint_as_float(__float_as_uint(b[i]) & ~0x1fffu);
  emulation::shuffle(0, 0, -2);
  for (int i = 0; i < 4; i++)
    for (int k = 0; k < 8; k++) c[i] += rows[w][g + i / 2 * 8][k] * columns[w][k][2 * t + i % 2];
}

// multiply_bf16 and load_matrices: see common.cuh. A bf16 is the upper half of a float.
static inline void multiply_bf16(float (&c)[4], const unsigned (&a)[4], const unsigned (&b)[2]) {
  static float rows[emulation::Threads / 32][16][16], columns[emulation::Threads / 32][16][8];
  int own = emulation::current, w = own / 32, g = own % 32 / 4, t = own % 4;
  emulation::shuffle(0, 0, -1);
  for (int half = 0; half < 2; half++) {
    for (int i = 0; i < 4; i++) rows[w][g + i % 2 * 8][2 * t + i / 2 * 8 + half] = __uint_as_float(a[i] >> 16 * half << 16);
    for (int i = 0; i < 2; i++) columns[w][2 * t + i * 8 + half][g] = __uint_as_float(b[i] >> 16 * half << 16);
  }
  emulation::shuffle(0, 0, -2);
  for (int i = 0; i < 4; i++)
    for (int k = 0; k < 16; k++) c[i] += rows[w][g + i / 2 * 8][k] * columns[w][k][2 * t + i % 2];
}

template <bool Turned, class T> static inline void load_matrices(unsigned (&m)[4], const emulation::Checked<T>& p, i64_t at) {
  static i64_t where[emulation::Threads];
  int own = emulation::current, w = own / 32 * 32, g = own % 32 / 4, t = own % 4;
  p[at + 7];
  if ((size_t)&p[at] % 16 != 0) emulation::fail("the row of a matrix from %lld on is not aligned", at);
  emulation::touch(&p[at], 16);
  emulation::shuffle(0, 0, -3);
  where[own] = at;
  emulation::shuffle(0, 0, -4);
  for (int i = 0; i < 4; i++) {
    m[i] = 0;
    for (int half = 0; half < 2; half++) {
      unsigned short bits;
      memcpy(&bits, &p[Turned ? where[w + 8 * i + 2 * t + half] + g : where[w + 8 * i + g] + 2 * t + half], 2);
      m[i] |= (unsigned)bits << 16 * half;
    }
  }
}

#define __threadfence()
#define __syncthreads() emulation::barrier(0, __LINE__, false)
#define __syncthreads_or(v) emulation::barrier(v, __LINE__, false)
#define __syncthreads_count(v) emulation::barrier(v, __LINE__, true)
#define __shfl_xor_sync(mask, v, lane_mask) emulation::shuffle(v, lane_mask, __LINE__)
#define atomicInc(at, limit) emulation::increment(at, limit)

#define KERNEL(name, resident, ...)                                                                                       \
  extern "C" __attribute__((visibility("default"))) int name(const void* arguments, emulation::Launch* l, char* m) { \
    return emulation::launch<__VA_ARGS__>(arguments, l, m);                                                              \
  }
