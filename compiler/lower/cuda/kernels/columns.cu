// Sums over the rows of [outer][rows][channels], deterministic and in one launch: every block adds a chunk of the rows of a
// tile of channels, thread by thread and then across its threads in order; the last block of a tile to finish adds
// the chunks in order.
//
// S: outer, rows, channels (a multiple of V), V, chunks (at most), lanes (packs of channels in a tile, at most Threads).
// K, the kernel: Values (sums a channel), Sum (their type), Part (that of the sums of a batch); Row, what read(outer, row, channel) loads for add(sums,
// row, channel), for Batch rows at once; finish(total, outer, i) for each of so many Results, usually one a channel, where
// total(j) is sum j; fields partial [outer][chunks][Values][channels], counter and blocks.
template <class S, class K, int Results = S::channels> struct Columns {
  static constexpr int Packs = S::channels / S::V, Tiles = ceiling(Packs, S::lanes), RowLanes = Threads / S::lanes, Width = S::lanes * S::V;
  static constexpr int Items = K::Values * Width, Room = ceiling(RowLanes * Items * (int)sizeof(typename K::Sum), 16) * 16; // bytes

  __device__ static inline void run(const K& k, int block) {
    typedef typename K::Sum Sum;
    constexpr int Values = K::Values, V = S::V;
    int chunks = k.blocks / (S::outer * Tiles), chunk = block % chunks, tile = block / chunks % Tiles, outer = block / chunks / Tiles;
    int lane = thread() % S::lanes, row_lane = thread() / S::lanes, channel = (tile * S::lanes + lane) * V;
    if (row_lane < RowLanes) {
      Sum sums[Values][V];
      for (int j = 0; j < Values; j++)
        for (int v = 0; v < V; v++) sums[j][v] = Sum(0);
      if (channel < S::channels) {
        int each = S::rows / chunks, more = S::rows % chunks; // the first chunks have a row more
        int from = chunk * each + smaller(chunk, more), to = from + each + (chunk < more ? 1 : 0);
        for (int first = from + row_lane; first < to; first += K::Batch * RowLanes) {
          typename K::Row rows[K::Batch];
#pragma unroll
          for (int b = 0; b < K::Batch; b++) rows[b] = k.read(outer, smaller(first + b * RowLanes, to - 1), channel);
          if constexpr (sizeof(typename K::Part) == sizeof(Sum)) {
            add(k, sums, rows, first, to, channel);
          } else {
            typename K::Part part[Values][V] = {};
            add(k, part, rows, first, to, channel);
            for (int j = 0; j < Values; j++)
              for (int v = 0; v < V; v++) sums[j][v] += part[j][v];
          }
        }
      }
      auto room = shared<Sum>(0, RowLanes * Items);
      for (int j = 0; j < Values; j++)
        for (int v = 0; v < V; v++) room[(row_lane * Values + j) * Width + lane * V + v] = sums[j][v];
    }
    __syncthreads();
    share(RowLanes, [&](int r, int item) { return (double)shared<Sum>(0, RowLanes * Items)[r * Items + item]; });
    for (int i = thread(); i < Items; i += Threads) {
      int c = tile * Width + i % Width;
      if (c < S::channels) k.partial[((outer * chunks + chunk) * Values + i / Width) * S::channels + c] = (Sum)total(RowLanes, i);
    }
    if (!last_block(k.counter + outer * Tiles + tile, chunks)) return;
    share(chunks, [&](int p, int item) {
      int c = tile * Width + item % Width;
      return c < S::channels ? (double)fresh(k.partial, ((outer * chunks + p) * Values + item / Width) * S::channels + c) : 0.0;
    });
    for (int i = thread(); i < (Tiles > 1 ? Width : Results); i += Threads) {
      int result = tile * Width + i;
      if (result < Results) k.finish([&](int j) { return total(chunks, j * Width + i % Width); }, outer, result);
    }
  }

  // add adds the rows of a batch that are before to.
  template <class T> __device__ static inline void add(const K& k, T (&sums)[K::Values][S::V], const typename K::Row (&rows)[K::Batch], int first, int to, int channel) {
#pragma unroll
    for (int b = 0; b < K::Batch; b++)
      if (first + b * RowLanes < to) k.add(sums, rows[b], channel);
  }

  // How many threads share the parts of an item.
  __device__ static constexpr int shares(int parts) { return larger(1, smaller(parts, Threads / Items)); }

  // share adds the parts of every item: all threads take some of them, and total adds what each of them has.
  template <class F> __device__ static inline void share(int parts, F part) {
    int count = shares(parts);
    auto sums = shared<double>(Room, count * Items);
    for (int i = thread(); i < count * Items; i += Threads) {
      double sum = 0;
#pragma unroll 16
      for (int p = i / Items; p < parts; p += count) sum += part(p, i % Items);
      sums[i] = sum;
    }
    __syncthreads();
  }
  __device__ static inline double total(int parts, int item) {
    int count = shares(parts);
    auto sums = shared<double>(Room, count * Items);
    double sum = 0;
    for (int s = 0; s < count; s++) sum += sums[s * Items + item];
    return sum;
  }
};

// Reduce: y[outer][channel] = scale · Σ x[outer][row][channel]. S: those of Columns, scale.
template <class S> struct Reduce {
  static constexpr int Values = 1, Batch = 8;
  typedef double Sum, Part;
  typedef Pack<S::V> Row;
  In<typename S::Image> x;
  Out<float> y;
  Out<double> partial;
  int counter, blocks;

  __device__ inline Row read(int outer, int row, int channel) const { return load<S::V>(x, (outer * S::rows + row) * S::channels + channel); }
  __device__ inline void add(double (&sums)[1][S::V], const Row& a, int) const {
    for (int v = 0; v < S::V; v++) sums[0][v] += a.v[v];
  }
  template <class F> __device__ inline void finish(F total, int outer, int channel) const {
    y[outer * S::channels + channel] = (float)(total(0) * S::scale);
  }
  __device__ void run(int block) const { Columns<S, Reduce>::run(*this, block); }
};

// ReduceAny: the same over any axes, a thread for a result. Axes of x in the order of y's memory, then the reduced ones.
// S: size (of y), blocks, rank_y, extent_y(a), step_y(a) (distances in x), rank_r, extent_r(a), step_r(a), count, scale.
template <class S> struct ReduceAny {
  In<typename S::Image> x;
  Out<float> y;

  __device__ void run(int block) const {
    for (int i = block * Threads + thread(); i < S::size; i += S::blocks * Threads) {
      int base = 0, rest = i;
      for (int a = S::rank_y - 1; a >= 0; a--) {
        base += rest % S::extent_y(a) * S::step_y(a);
        rest /= S::extent_y(a);
      }
      double sum = 0;
      for (int r = 0; r < S::count; r++) {
        int at = base, left = r;
        for (int a = S::rank_r - 1; a >= 0; a--) {
          at += left % S::extent_r(a) * S::step_r(a);
          left /= S::extent_r(a);
        }
        sum += x[at];
      }
      y[i] = (float)(sum * S::scale);
    }
  }
};
