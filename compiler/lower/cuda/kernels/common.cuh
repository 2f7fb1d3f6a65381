// What all kernels share. A kernel is a template struct: its fields are the arguments of the launch, in order; its
// parameter S is a specialisation, a struct of constants that the compiler generates (shapes, strides, flags); run(block)
// is the work of one block. S::Image is what images, four-dimensional values that are no weights, have in memory: float or
// bf16. Every kernel has blocks of Threads threads in one row, so that launches can be joined.
//
// The same text compiles with NVRTC for a device, and with g++ -include emulation.h for the processor, where In, Out and
// Shared check every access. So a kernel reaches memory only by those, by index, and waits only by __syncthreads and
// the shuffles of a whole warp.

typedef long long i64;
typedef unsigned long long u64;
typedef unsigned char u8;

constexpr int Threads = 256;

// bf16 is a float with 7 bits of fraction, which images may have in memory; kernels compute with floats. Rounded to the nearest,
// ties to even.
struct bf16 {
  unsigned short bits;
  bf16() = default;
  __device__ inline bf16(float x);
  __device__ inline operator float() const { return __uint_as_float((unsigned)bits << 16); }
};

#ifndef DARTSC_EMULATION

__device__ inline bf16::bf16(float x) { asm("cvt.rn.bf16.f32 %0, %1;" : "=h"(bits) : "f"(x)); }

template <class T> using In = const T*;
template <class T> using Out = T*;
template <class T> using Shared = T*;
typedef u64 Word; // of arguments

extern __shared__ float4 shared_memory[];

// shared is an array of so many elements in the block's dynamic shared memory, from a byte on that is a multiple of 16.
template <class T> __device__ inline Shared<T> shared(int offset, int /*count*/) {
  return reinterpret_cast<T*>(reinterpret_cast<char*>(shared_memory) + offset);
}

__device__ inline float4 load4(const float* p, int i) { return *reinterpret_cast<const float4*>(p + i); }
__device__ inline void store4(float* p, int i, float4 v) { *reinterpret_cast<float4*>(p + i) = v; }
__device__ inline float4 load4(const bf16* p, int i) {
  uint2 u = *reinterpret_cast<const uint2*>(p + i);
  return make_float4(__uint_as_float(u.x << 16), __uint_as_float(u.x & 0xffff0000u), __uint_as_float(u.y << 16), __uint_as_float(u.y & 0xffff0000u));
}
__device__ inline void store4(bf16* p, int i, float4 v) {
  uint2 u;
  asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(u.x) : "f"(v.y), "f"(v.x));
  asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(u.y) : "f"(v.w), "f"(v.z));
  *reinterpret_cast<uint2*>(p + i) = u;
}

// fresh reads what another block of this launch has written, past the first cache.
template <class T> __device__ inline T fresh(const T* p, int i) { return __ldcg(p + i); }
__device__ inline float4 fresh4(const float* p, int i) { return __ldcg(reinterpret_cast<const float4*>(p + i)); }

// ahead asks for so many elements from p[i] on, in whole 16 bytes, to be brought to the second cache. One thread asks for all; older devices than
// sm_90 cannot be asked so.
template <class T> __device__ inline void ahead(const T* p, int i, int count) {
#if __CUDA_ARCH__ >= 900
  asm volatile("cp.async.bulk.prefetch.L2.global [%0], %1;" ::"l"(__cvta_generic_to_global(p + i)), "r"(count * (int)sizeof(T)));
#endif
}

// bring copies N neighbours from p[i] on to shared memory, zeros if they are not there, while the thread goes on; arrived waits for all
// that the thread has asked for, which others see after a barrier.
template <int N, class T> __device__ inline void bring(T* to, int at, const T* p, int i, bool there) {
  constexpr int Bytes = N * sizeof(T);
  unsigned shared = (unsigned)__cvta_generic_to_shared(to + at);
  size_t global = __cvta_generic_to_global(p + i);
  if constexpr (Bytes == 16) {
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(shared), "l"(global), "r"(there ? 16 : 0) : "memory");
  } else {
    asm volatile("cp.async.ca.shared.global [%0], [%1], %2, %3;" ::"r"(shared), "l"(global), "n"(Bytes), "r"(there ? Bytes : 0) : "memory");
  }
}
__device__ inline void arrived() { asm volatile("cp.async.wait_all;" ::: "memory"); }

__device__ inline int thread() {
  int t = (int)threadIdx.x;
  __builtin_assume(t >= 0 && t < Threads); // so that divisions are shifts, and conditions on warps go where all are there
  return t;
}

// in_order keeps the compiler from loading what comes after it before it, into registers that there are not.
__device__ inline void in_order() { asm volatile("" ::: "memory"); }

__device__ inline float2 load2(const float* p, int i) { return *reinterpret_cast<const float2*>(p + i); }
__device__ inline float2 load2(const bf16* p, int i) {
  unsigned u = *reinterpret_cast<const unsigned*>(p + i);
  return make_float2(__uint_as_float(u << 16), __uint_as_float(u & 0xffff0000u));
}
__device__ inline void store2(float* p, int i, float x, float y) { *reinterpret_cast<float2*>(p + i) = make_float2(x, y); }
__device__ inline void store2(bf16* p, int i, float x, float y) {
  asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(*reinterpret_cast<unsigned*>(p + i)) : "f"(y), "f"(x));
}

// to_tf32 rounds to 10 bits.
__device__ inline float to_tf32(float x) {
  unsigned bits;
  asm("cvt.rna.tf32.f32 %0, %1;" : "=r"(bits) : "f"(x));
  return __uint_as_float(bits);
}

// multiply_tf32 adds to c a 16 by 8 product of depth 8 on the tensor cores of a warp, which leave out all but 10 bits of a fraction. Of lane
// 4g+t, a is rows g and g+8 at t, then the same at t+4; b is column g at t and t+4; c is row g at columns 2t and 2t+1, then
// row g+8.
__device__ inline void multiply_tf32(float (&c)[4], const float (&a)[4], const float (&b)[2]) {
  asm("mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
      : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
      : "r"(__float_as_uint(a[0])), "r"(__float_as_uint(a[1])), "r"(__float_as_uint(a[2])), "r"(__float_as_uint(a[3])), "r"(__float_as_uint(b[0])), "r"(__float_as_uint(b[1])));
}

// multiply_bf16 is the same of depth 16. Of lane 4g+t, a is of row g the pair at 2t, then of row g+8, and the same at 2t+8; b is of column g the pairs at 2t and 2t+8.
__device__ inline void multiply_bf16(float (&c)[4], const unsigned (&a)[4], const unsigned (&b)[2]) {
  asm("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
      : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}

// load_matrices brings a warp four matrices of 8 by 8 from shared memory; lane 8i+r says where row r of matrix i is, eight elements in whole 16 bytes. Lane 4g+t
// gets of each the pair at 2t of row g, or, Turned, rows 2t and 2t+1 of column g.
template <bool Turned> __device__ inline void load_matrices(unsigned (&m)[4], const bf16* p, int at) {
  unsigned row = (unsigned)__cvta_generic_to_shared(p + at);
  if constexpr (Turned) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];" : "=r"(m[0]), "=r"(m[1]), "=r"(m[2]), "=r"(m[3]) : "r"(row));
  } else {
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];" : "=r"(m[0]), "=r"(m[1]), "=r"(m[2]), "=r"(m[3]) : "r"(row));
  }
}

// KERNEL is the entry of a kernel of which so many blocks are to run on a multiprocessor at once.
#define KERNEL(name, resident, ...) \
  extern "C" __global__ void __launch_bounds__(Threads, resident) name(const __grid_constant__ __VA_ARGS__ k) { k.run((int)blockIdx.x); }

#else

inline bf16::bf16(float x) {
  unsigned u = __float_as_uint(x);
  bits = x != x ? 0x7fff : (unsigned short)((u + 0x7fff + (u >> 16 & 1)) >> 16);
}

#endif

// Together is several launches at once: of each kernel so many, which have so many blocks each. Their arguments lie one after the other.
template <int Words, class... Kernels> struct Together {
  int launches[sizeof...(Kernels)], blocks[sizeof...(Kernels)];
  Word arguments[Words];

  __device__ void run(int block) const { part<0, Kernels...>(block, 0); }

  // part runs a block of the kernels from K on, whose arguments lie from a byte on.
  template <int I, class K, class... Rest> __device__ inline void part(int block, int at) const {
    if constexpr (sizeof...(Rest) > 0) {
      int there = launches[I] * blocks[I];
      if (block >= there) return part<I + 1, Rest...>(block - there, at + launches[I] * (int)sizeof(K));
    }
    reinterpret_cast<const K*>(reinterpret_cast<const char*>(arguments) + at)[block / blocks[I]].run(block % blocks[I]);
  }
};

// Counters of blocks that have arrived, one for each reduction of a program: zero before and after every launch.
__device__ unsigned counters[Counters];

// last_block says, to all threads of a block, whether it is the last of so many blocks to come here, and so sees what
// the others have written before. The sums of a reduction are then added in order by that block, whichever it is.
__device__ inline bool last_block(int counter, int blocks) {
  __syncthreads();
  bool last = false;
  if (thread() == 0) {
    __threadfence(); // for what all threads have written: the barrier has put it before this
    last = atomicInc(&counters[counter], (unsigned)(blocks - 1)) == (unsigned)(blocks - 1);
    __threadfence();
  }
  return __syncthreads_or(last);
}

// warp_sum and warp_largest are of what the threads of a warp bring, to all of them.
template <class T> __device__ inline T warp_sum(T v) {
  for (int d = 16; d > 0; d /= 2) v += __shfl_xor_sync(0xffffffffu, v, d);
  return v;
}

__device__ inline float warp_largest(float v) {
  for (int d = 16; d > 0; d /= 2) v = fmaxf(v, __shfl_xor_sync(0xffffffffu, v, d));
  return v;
}

// Pack is V neighbouring elements, loaded at once where V is 2 or 4.
template <int V> struct Pack {
  float v[V];
};

template <int V, class P> __device__ inline Pack<V> load(P p, int i) {
  Pack<V> out;
  if constexpr (V == 4) {
    float4 a = load4(p, i);
    out.v[0] = a.x, out.v[1] = a.y, out.v[2] = a.z, out.v[3] = a.w;
  } else if constexpr (V == 2) {
    float2 a = load2(p, i);
    out.v[0] = a.x, out.v[1] = a.y;
  } else {
    for (int k = 0; k < V; k++) out.v[k] = p[i + k];
  }
  return out;
}

// rectified is what a ReLU makes of a pack.
template <int V, class P> __device__ inline Pack<V> rectified(P p, int i) {
  Pack<V> x = load<V>(p, i);
  for (int v = 0; v < V; v++) x.v[v] = fmaxf(x.v[v], 0.0f);
  return x;
}
#ifndef DARTSC_EMULATION
template <int V> __device__ inline Pack<V> rectified(bf16* p, int i) {
  static_assert(V % 2 == 0, "in pairs");
  Pack<V> x;
  for (int v = 0; v < V; v += 2) {
    unsigned u = *reinterpret_cast<const unsigned*>(p + i + v);
    asm("max.bf16x2 %0, %0, %1;" : "+r"(u) : "r"(0));
    x.v[v] = __uint_as_float(u << 16), x.v[v + 1] = __uint_as_float(u & 0xffff0000u);
  }
  return x;
}
#endif

template <int V, class P> __device__ inline void store(P p, int i, const Pack<V>& a) {
  if constexpr (V == 4) {
    store4(p, i, make_float4(a.v[0], a.v[1], a.v[2], a.v[3]));
  } else if constexpr (V == 2) {
    store2(p, i, a.v[0], a.v[1]);
  } else {
    for (int k = 0; k < V; k++) p[i + k] = a.v[k];
  }
}

template <int V> __device__ inline Pack<V> zero() {
  Pack<V> out;
  for (int k = 0; k < V; k++) out.v[k] = 0;
  return out;
}

// Split is numbers as tensor cores take them: rounded, and, where products are to be exact, what is left of them. The product of two
// splits leaves out that of what is left, which is less than what float32 rounds away (Ootomo and Yokota 2022,
// "Recovering single precision accuracy from Tensor Cores").
template <int N, bool Exact> struct Split {
  float high[N], low[N];

  Split() = default;
  __device__ inline explicit Split(const float (&x)[N]) {
    for (int i = 0; i < N; i++) {
      if constexpr (Exact) { // as to_tf32, but for NaN, which low keeps; conversions would be the slowest part of a product
        high[i] = __uint_as_float((__float_as_uint(x[i]) + 0x1000) & ~0x1fffu);
        low[i] = x[i] - high[i];
      } else {
        high[i] = to_tf32(x[i]);
      }
    }
  }
};
template <bool Exact> __device__ inline void multiply_split(float (&c)[4], const Split<4, Exact>& a, const Split<2, Exact>& b) {
  if constexpr (Exact) {
    multiply_tf32(c, a.low, b.high);
    multiply_tf32(c, a.high, b.low);
  }
  multiply_tf32(c, a.high, b.high);
}

__device__ constexpr int smaller(int a, int b) { return a < b ? a : b; }
__device__ constexpr int larger(int a, int b) { return a > b ? a : b; }
__device__ constexpr int ceiling(int a, int b) { return (a + b - 1) / b; }

// Fragments are the factors of 16 by 8 products of a warp, Depth deep, from shared memory: left is of the sixteen rows that begin at an element, right of N times eight columns
// from column on, of which the last eight that are there stand for those behind; both lie stride apart, Deep products long, and are taken from k on. Floats are split;
// the order of products is free, so lane t has those at 2t and 2t+1.
template <class T, bool Exact> struct Fragments {
  static constexpr int Depth = 8;
  typedef Split<4, Exact> Left;
  typedef Split<2, Exact> Right;

  template <int Deep, class P> __device__ static inline Left left(P rows, int begin, int stride, int k) {
    int at = begin + thread() % 32 / 4 * stride + k + thread() % 4 * 2;
    Pack<2> upper = load<2>(rows, at), lower = load<2>(rows, at + 8 * stride);
    const float a[4] = {upper.v[0], lower.v[0], upper.v[1], lower.v[1]};
    return Left(a);
  }
  template <int Deep, int N, class P> __device__ static inline void right(Right (&r)[N], P columns, int stride, int column, int last, int k) {
#pragma unroll
    for (int n = 0; n < N; n++) r[n] = Right(load<2>(columns, (smaller(column + 8 * n, last) + thread() % 32 / 4) * stride + k + thread() % 4 * 2).v);
  }
  __device__ static inline void multiply(float (&c)[4], const Left& a, const Right& b) { multiply_split(c, a, b); }
};

template <bool Exact> struct Fragments<bf16, Exact> {
  static constexpr int Depth = 16;
  struct Left {
    unsigned of[4];
  };
  struct Right {
    unsigned of[2];
  };

  // Where eight products are left, left has zeros behind them, and right what it likes.
  template <int Deep, class P> __device__ static inline Left left(P rows, int begin, int stride, int k) {
    Left out;
    load_matrices<false>(out.of, rows, begin + thread() % 16 * stride + inside<Deep>(k + thread() % 32 / 16 * 8));
    if (Deep % 16 != 0 && k + 8 >= Deep) out.of[2] = out.of[3] = 0;
    return out;
  }
  template <int Deep, int N, class P> __device__ static inline void right(Right (&r)[N], P columns, int stride, int column, int last, int k) {
#pragma unroll
    for (int n = 0; n < N; n += 2) {
      unsigned pair[4];
      load_matrices<false>(pair, columns, (smaller(column + 8 * n + thread() % 32 / 16 * 8, last) + thread() % 8) * stride + inside<Deep>(k + thread() % 16 / 8 * 8));
      r[n] = Right{{pair[0], pair[1]}};
      if (n + 1 < N) r[n + 1] = Right{{pair[2], pair[3]}};
    }
  }
  template <int Deep> __device__ static inline int inside(int k) { return Deep % 16 != 0 ? smaller(k, Deep - 8) : k; }
  __device__ static inline void multiply(float (&c)[4], const Left& a, const Right& b) { multiply_bf16(c, a.of, b.of); }
};

// Phase is the way back through one axis of a convolution or pooling by K taps, stride S, dilation D and P pads before. Inputs S·a + phase meet through a
// tap the result a + source(phase, tap) of a tile whose first is Low behind a: so what a phase meets is known when the kernel is compiled.
template <int K, int S, int D, int P> struct Phase {
  __device__ static constexpr int floor(int a) { return a >= 0 ? a / S : -((S - 1 - a) / S); }
  static constexpr int Low = floor(P - (K - 1) * D), Span = floor(S - 1 + P) - Low + 1;
  __device__ static constexpr int source(int phase, int tap) { return (phase + P - tap * D) % S == 0 ? floor(phase + P - tap * D) - Low : -1; }
};

// inverse_root is 1/sqrt(x) to some twelve digits, in a few instructions: a step of Newton's method from what the device has.
__device__ inline double inverse_root(double x) {
  double r = rsqrtf((float)x);
  return r * (1.5 - 0.5 * x * r * r);
}

// Prologue is what happens to the input of a convolution as it is loaded: nothing (0), ReLU (1), or normalisation and
// ReLU (2, with scale and shift 3).
template <class S> struct Prologue {
  In<float> mean, variance, gamma, beta;

  template <int V> __device__ inline Pack<V> apply(Pack<V> x, int channel) const {
    for (int k = 0; k < V; k++) {
      if constexpr (S::prologue >= 2) {
        float factor = rsqrtf(variance[channel + k] + S::eps);
        x.v[k] = (x.v[k] - mean[channel + k]) * factor;
        if constexpr (S::prologue == 3) x.v[k] = x.v[k] * gamma[channel + k] + beta[channel + k];
      }
      if constexpr (S::prologue >= 1) x.v[k] = fmaxf(x.v[k], 0.0f);
    }
    return x;
  }
};

// Philox4x32-10 (Salmon et al. 2011), as internal/philox.
struct Philox {
  unsigned key0, key1, step, id;

  __device__ inline Philox(i64 seed, i64 at, int stream)
      : key0((unsigned)(u64)seed), key1((unsigned)((u64)seed >> 32)), step((unsigned)(u64)at), id((unsigned)stream) {}

  // word is the random number at position i.
  __device__ inline unsigned word(u64 i) const {
    u64 block = i / 4;
    unsigned c[4] = {(unsigned)block, (unsigned)(block >> 32), step, id};
    unsigned k0 = key0, k1 = key1;
    for (int round = 0; round < 10; round++) {
      u64 p0 = (u64)0xD2511F53u * c[0], p1 = (u64)0xCD9E8D57u * c[2];
      unsigned n0 = (unsigned)(p1 >> 32) ^ c[1] ^ k0, n2 = (unsigned)(p0 >> 32) ^ c[3] ^ k1;
      c[0] = n0, c[1] = (unsigned)p1, c[2] = n2, c[3] = (unsigned)p0;
      k0 += 0x9E3779B9u;
      k1 += 0xBB67AE85u;
    }
    int at = (int)(i % 4);
    return at == 0 ? c[0] : at == 1 ? c[1] : at == 2 ? c[2] : c[3];
  }

  // below is an integer in [0, n), uniform a number in [0, 1).
  __device__ inline int below(u64 i, int n) const { return (int)((u64)word(i) * (u64)n >> 32); }
  __device__ inline float uniform(u64 i) const { return (float)(word(i) >> 8) * (1.0f / (1 << 24)); }
};
