// Sums over the rows of [outer][rows][channels], deterministic and in one launch: every block adds a chunk of the rows of a
// tile of channels, thread by thread and then across its threads in order; the last block of a tile to finish adds
// the chunks in order.
//
// S: outer, rows, channels (a multiple of V), V, chunks, lanes (packs of channels in a tile, at most Threads).
// K, the kernel: Values (sums a channel), Sum (their type), add(sums, outer, row, channel), finish(sums, outer, channel);
// fields partial [outer][chunks][Values][channels] and counter.
template <class S, class K> struct Columns {
  static constexpr int Packs = S::channels / S::V, Tiles = ceiling(Packs, S::lanes), RowLanes = Threads / S::lanes, Width = S::lanes * S::V;

  __device__ static inline void run(const K& k, int block) {
    typedef typename K::Sum Sum;
    constexpr int Values = K::Values, V = S::V;
    int chunk = block % S::chunks, tile = block / S::chunks % Tiles, outer = block / S::chunks / Tiles;
    int lane = thread() % S::lanes, row_lane = thread() / S::lanes, channel = (tile * S::lanes + lane) * V;
    bool active = row_lane < RowLanes && channel < S::channels;
    Sum sums[Values][V];
    for (int j = 0; j < Values; j++)
      for (int v = 0; v < V; v++) sums[j][v] = Sum(0);
    if (active) {
      int from = (int)((i64)S::rows * chunk / S::chunks), to = (int)((i64)S::rows * (chunk + 1) / S::chunks);
      for (int row = from + row_lane; row < to; row += RowLanes) k.add(sums, outer, row, channel);
    }
    auto room = shared<Sum>(0, RowLanes * Values * Width);
    if (active) {
      for (int j = 0; j < Values; j++)
        for (int v = 0; v < V; v++) room[(row_lane * Values + j) * Width + lane * V + v] = sums[j][v];
    }
    __syncthreads();
    for (int i = thread(); i < Values * Width; i += Threads) {
      int j = i / Width, c = tile * Width + i % Width;
      if (c >= S::channels) continue;
      double total = 0;
      for (int r = 0; r < RowLanes; r++) total += (double)room[(r * Values + j) * Width + i % Width];
      k.partial[((outer * S::chunks + chunk) * Values + j) * S::channels + c] = (Sum)total;
    }
    if (!last_block(k.counter + outer * Tiles + tile, S::chunks)) return;
    // All threads share the work, each one some of the chunks of a sum; then the shares are added in order.
    constexpr int Items = Values * Width, Shares = larger(1, smaller(S::chunks, Threads / Items)); // of a sum
    auto share = shared<double>(0, Shares * Items);
    for (int i = thread(); i < Shares * Items; i += Threads) {
      int item = i % Items, j = item / Width, c = tile * Width + item % Width;
      double total = 0;
      if (c < S::channels) {
        for (int p = i / Items; p < S::chunks; p += Shares)
          total += (double)fresh(k.partial, ((outer * S::chunks + p) * Values + j) * S::channels + c);
      }
      share[i] = total;
    }
    __syncthreads();
    for (int i = thread(); i < Width; i += Threads) {
      int c = tile * Width + i;
      if (c >= S::channels) continue;
      double totals[Values];
      for (int j = 0; j < Values; j++) {
        totals[j] = 0;
        for (int s = 0; s < Shares; s++) totals[j] += share[s * Items + j * Width + i];
      }
      k.finish(totals, outer, c);
    }
  }
};

// Reduce: y[outer][channel] = scale · Σ x[outer][row][channel]. S: those of Columns, scale.
template <class S> struct Reduce {
  static constexpr int Values = 1;
  typedef double Sum;
  In<float> x;
  Out<float> y;
  Out<double> partial;
  int counter;

  __device__ inline void add(double (&sums)[1][S::V], int outer, int row, int channel) const {
    Pack<S::V> a = load<S::V>(x, (outer * S::rows + row) * S::channels + channel);
    for (int v = 0; v < S::V; v++) sums[0][v] += a.v[v];
  }
  __device__ inline void finish(const double* totals, int outer, int channel) const {
    y[outer * S::channels + channel] = (float)(totals[0] * S::scale);
  }
  __device__ void run(int block) const { Columns<S, Reduce>::run(*this, block); }
};

// ReduceAny: the same over any axes, a thread for a result. Axes of x in the order of y's memory, then the reduced ones.
// S: size (of y), blocks, rank_y, extent_y(a), step_y(a) (distances in x), rank_r, extent_r(a), step_r(a), count, scale.
template <class S> struct ReduceAny {
  In<float> x;
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
