// MatMul for matrices that fill its tiles, of side by side results, 64 or 128: a thread has 8 by 8 of them, in four squares, so
// that what it reads from shared memory is a sixteenth of what it multiplies. Where a tile has fewer than 128 by 128 results,
// groups of threads share its products, bk deep at a time, and their sums are added in order; the next step's factors are
// loaded meanwhile. With S::tf32 each warp multiplies tiles of 16 by 8 on tensor cores instead. Splits are those of Product.
//
// In shared memory a row of side factors belongs to each k. Neighbours in it are apart by groups of four, which row k has
// in an order of its own, so that neither those who write along k nor those who read along m wait for each other.
//
// S: m, n, k, side, bk, splits, tf32, transpose_a, transpose_b, added; va, vb, vz: how many neighbours of x, y and z are
// taken at once.
template <class S> struct LargeMatMul {
  In<float> x, y, addend;
  Out<float> z, partial;
  int counter;

  static constexpr int TileN = ceiling(S::n, S::side), Tiles = ceiling(S::m, S::side) * TileN;
  static constexpr int Sub = S::side * S::side / 64, Groups = Threads / Sub, Depth = S::bk / Groups, Squares = S::side * S::side / 1024, Side = S::side / 32;
  static constexpr int Stage = S::bk * S::side, Sums = S::tf32 ? Squares * 4 : 64;
  static constexpr int PacksA = Stage / Threads / S::va, PacksB = Stage / Threads / S::vb;

  struct Step { // the factors of a step on their way
    Pack<S::va> a[PacksA];
    Pack<S::vb> b[PacksB];
  };

  __device__ void run(int block) const {
    int tile = block % Tiles, split = block / Tiles, m0 = tile / TileN * S::side, n0 = tile % TileN * S::side;
    auto ta = shared<float>(0, 2 * Stage);
    auto tb = shared<float>(8 * Stage, 2 * Stage);
    constexpr int Steps = ceiling(S::k, S::bk);
    int from = (int)((i64)Steps * split / S::splits), to = (int)((i64)Steps * (split + 1) / S::splits);
    float sum[Sums] = {};
    Step next = fetch(m0, n0, from * S::bk);
    put(next, ta, tb, 0);
    __syncthreads();
    for (int s = from; s < to; s++) {
      int stage = (s - from) % 2;
      if (s + 1 < to) next = fetch(m0, n0, (s + 1) * S::bk);
      if constexpr (S::tf32) {
        multiply_squares(sum, ta, tb, stage);
      } else {
        multiply(sum, ta, tb, stage);
      }
      if (s + 1 < to) put(next, ta, tb, 1 - stage);
      __syncthreads();
    }
    if constexpr (!S::tf32 && Groups > 1) add_groups(sum);
    finish(sum, tile, split, m0, n0);
  }

  // at is where factor x of the row of k lies.
  __device__ static inline int at(int k, int x) { return k * S::side + (x ^ (k / 4 % 8 * 4)); }

  __device__ inline Step fetch(int m0, int n0, int k0) const {
    Step s;
#pragma unroll
    for (int i = 0; i < PacksA; i++) {
      int p = i * Threads + thread(), m = m0 + place<!S::transpose_a, S::va>(p), k = k0 + depth<!S::transpose_a, S::va>(p);
      s.a[i] = m < S::m && k < S::k ? load<S::va>(x, S::transpose_a ? k * S::m + m : m * S::k + k) : zero<S::va>();
    }
#pragma unroll
    for (int i = 0; i < PacksB; i++) {
      int p = i * Threads + thread(), n = n0 + place<S::transpose_b, S::vb>(p), k = k0 + depth<S::transpose_b, S::vb>(p);
      s.b[i] = n < S::n && k < S::k ? load<S::vb>(y, S::transpose_b ? n * S::k + k : k * S::n + n) : zero<S::vb>();
    }
    return s;
  }

  template <class T> __device__ static inline void put(const Step& s, T ta, T tb, int stage) {
#pragma unroll
    for (int i = 0; i < PacksA; i++) put_pack<!S::transpose_a, S::va>(s.a[i], ta, stage * Stage, i * Threads + thread());
#pragma unroll
    for (int i = 0; i < PacksB; i++) put_pack<S::transpose_b, S::vb>(s.b[i], tb, stage * Stage, i * Threads + thread());
  }

  // Pack p of a stage: its first element is at place along m or n, at depth along k.
  template <bool AlongK, int V> __device__ static inline int place(int p) { return AlongK ? p / (S::bk / V) : p % (S::side / V) * V; }
  template <bool AlongK, int V> __device__ static inline int depth(int p) { return AlongK ? p % (S::bk / V) * V : p / (S::side / V); }

  template <bool AlongK, int V, class T> __device__ static inline void put_pack(const Pack<V>& a, T t, int base, int p) {
    int x = place<AlongK, V>(p), k = depth<AlongK, V>(p);
    if constexpr (AlongK) {
      for (int v = 0; v < V; v++) t[base + at(k + v, x)] = a.v[v];
    } else {
      store<V>(t, base + at(k, x), a);
    }
  }

  // The first row and column of a thread's results; its squares are apart by half a tile.
  __device__ static inline int row() { return thread() % Sub / (S::side / 8) * 4; }
  __device__ static inline int column() { return thread() % Sub % (S::side / 8) * 4; }

  template <class T> __device__ static inline void multiply(float (&sum)[Sums], T ta, T tb, int stage) {
    int m = row(), n = column();
#pragma unroll 1 // more at once need more registers than there are
    for (int k2 = thread() / Sub * Depth; k2 < (thread() / Sub + 1) * Depth; k2 += 2) {
#pragma unroll
      for (int k = k2; k < k2 + 2; k++) {
        Pack<4> a[2], b[2];
        for (int h = 0; h < 2; h++) {
          a[h] = load<4>(ta, stage * Stage + at(k, m + h * S::side / 2));
          b[h] = load<4>(tb, stage * Stage + at(k, n + h * S::side / 2));
        }
#pragma unroll
        for (int i = 0; i < 8; i++)
#pragma unroll
          for (int j = 0; j < 8; j++) sum[i * 8 + j] += a[i / 4].v[i % 4] * b[j / 4].v[j % 4];
      }
    }
  }

  // multiply_squares: of the tiles of 16 by 8 results, each of the 8 warps, which lie 2 by 4, does Side by Side.
  template <class T> __device__ static inline void multiply_squares(float (&sum)[Sums], T ta, T tb, int stage) {
    int g = thread() % 32 / 4, t = thread() % 4;
#pragma unroll 1
    for (int k = 0; k < S::bk; k += 8) {
#pragma unroll
      for (int i = 0; i < Squares; i++) {
        int m = square_row(i) + g, n = square_column(i) + g, base = stage * Stage;
        float a[4] = {ta[base + at(k + t, m)], ta[base + at(k + t, m + 8)], ta[base + at(k + t + 4, m)], ta[base + at(k + t + 4, m + 8)]};
        float b[2] = {tb[base + at(k + t, n)], tb[base + at(k + t + 4, n)]};
        float(&c)[4] = *reinterpret_cast<float(*)[4]>(&sum[4 * i]);
        multiply_tf32(c, a, b);
      }
    }
  }
  __device__ static inline int square_row(int i) { return (thread() / 128 * Side + i / Side) * 16; }
  __device__ static inline int square_column(int i) { return (thread() / 32 % 4 * Side + i % Side) * 8; }

  // add_groups gives the threads of the first group the sums of all groups, a row of each thread's results at a time.
  __device__ static inline void add_groups(float (&sum)[Sums]) {
    auto room = shared<float>(0, Threads * 8);
#pragma unroll
    for (int i = 0; i < 8; i++) {
      for (int j = 0; j < 8; j++) room[j * Threads + thread()] = sum[i * 8 + j];
      __syncthreads();
      if (thread() < Sub) {
        for (int j = 0; j < 8; j++) {
          float total = 0;
          for (int g = 0; g < Groups; g++) total += room[j * Threads + g * Sub + thread()];
          sum[i * 8 + j] = total;
        }
      }
      __syncthreads();
    }
  }

  // finish writes the results of a tile; with several splits its last block to come here does, and adds them in order.
  __device__ inline void finish(const float (&sum)[Sums], int tile, int split, int m0, int n0) const {
    if constexpr (S::tf32) {
#pragma unroll
      for (int i = 0; i < Sums; i++) {
        Pack<1> v = {{sum[i]}};
        keep(split, m0 + square_row(i / 4) + thread() % 32 / 4 + i % 4 / 2 * 8, n0 + square_column(i / 4) + thread() % 4 * 2 + i % 2, v);
      }
    } else if (thread() < Sub) {
#pragma unroll
      for (int i = 0; i < 8; i++)
#pragma unroll
        for (int j = 0; j < 8; j += S::vz) {
          Pack<S::vz> v;
          for (int k = 0; k < S::vz; k++) v.v[k] = sum[i * 8 + j + k];
          keep(split, m0 + row() + i % 4 + i / 4 * S::side / 2, n0 + column() + j % 4 + j / 4 * S::side / 2, v);
        }
    }
    if constexpr (S::splits > 1) {
      if (!last_block(counter + tile, S::splits)) return;
      for (int i = thread(); i < S::side * S::side; i += Threads) {
        int m = m0 + i / S::side, n = n0 + i % S::side;
        if (m >= S::m || n >= S::n) continue;
        Pack<1> total = {{0}};
        for (int s = 0; s < S::splits; s++) total.v[0] += fresh(partial, (s * S::m + m) * S::n + n);
        put_result(m * S::n + n, n, total);
      }
    }
  }

  // keep writes neighbouring results, or what this split adds to them.
  template <int V> __device__ inline void keep(int split, int m, int n, const Pack<V>& v) const {
    if (m >= S::m || n >= S::n) return;
    if constexpr (S::splits == 1) {
      put_result(m * S::n + n, n, v);
    } else {
      store<V>(partial, (split * S::m + m) * S::n + n, v);
    }
  }

  template <int V> __device__ inline void put_result(int at, int n, Pack<V> v) const {
    if constexpr (S::added != 0) {
      Pack<V> a = load<V>(addend, S::added == 1 ? at : n);
      for (int k = 0; k < V; k++) v.v[k] += a.v[k];
    }
    store<V>(z, at, v);
  }
};
