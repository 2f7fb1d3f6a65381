// Products of few rows by few columns over many pixels, on tensor cores: what a filter's gradient is.

// eights is n in whole steps of the tensor cores; spread is how far apart rows of n lie, so that the lanes of a warp that read pairs from eight of them
// meet in no memory bank.
__device__ constexpr int eights(int n) { return 8 * ceiling(n, 8); }
__device__ constexpr int spread(int n) { return eights(n) + (eights(n) % 16 == 0 ? 8 : 0); }

// padding is how much longer a row of so many elements is to be, so that rows so far apart start where a warp's next lanes read or write, c elements on: in
// other memory banks, of which so many elements lie side by side.
__device__ constexpr int padding(int elements, int apart, int c, int banks) {
  for (int p = 0; p < banks; p += 4)
    if ((apart * (elements + p) - c) % banks == 0) return p;
  return 0;
}

// Lines are the pixels of a tile as products take them, K channels spread(K) apart. With lines of whole sixteens of pixels something is left out after each, so that
// lanes that write strips Apart lines apart are in different memory banks.
template <class T, int K, int W = 1, int Apart = 1> struct Lines {
  static constexpr int Width = W, Stride = spread(K), Padding = padding(Width * Stride, Apart, K, 128 / sizeof(T)), Skip = Width % 16 == 0 && Padding % 8 == 0 ? Padding : 0;

  // at is where pixel i begins, and also where pixel column of a row does.
  __device__ static constexpr int at(int i) { return Skip > 0 ? i * Stride + i / Width * Skip : i * Stride; }
  __device__ static constexpr int at(int row, int column) { return row * (Width * Stride + Skip) + column * Stride; }
};

// outer_groups is how many groups of warps share the pixels of so many tiles, which leaves the fewest of eight warps idle; but a warp has no more than
// four tiles if it need not.
__device__ constexpr int outer_groups(int tiles) {
  int best = 1;
  for (int g = 2; g <= 8; g *= 2)
    if (ceiling(tiles, 8 / g) <= larger(4, ceiling(tiles, 8)) && ceiling(tiles, 8 / g) * (8 / g) < ceiling(tiles, 8 / best) * (8 / best)) best = g;
  return best;
}

// Outer adds the products x[pixel][c]·g[pixel][o] of the Pixels in shared memory, x as X says, Lines, and g spread(O) apart. Each warp has some tiles of
// 16 by 16 results; Groups of warps share the pixels. Of bf16s there must be whole sixteens of rows of g, zeros behind the pixels.
template <class T, int Pixels, int C, int O, bool Exact, class X = Lines<T, C>> struct Outer {
  static constexpr int TilesO = ceiling(O, 16), Tiles = ceiling(C, 16) * TilesO;
  static constexpr int Groups = outer_groups(Tiles), Each = ceiling(Tiles, 8 / Groups);

  // Totals are a thread's: of its tiles, two halves of eight columns, each as multiply_tf32 has them.
  struct Totals {
    float of[Each][2][4] = {};
  };

  __device__ static inline int group() { return thread() / 32 / (8 / Groups); }
  // channel and output of the first element of the warp's tile n; one at or behind C has no part.
  __device__ static inline int channel(int n) { return (thread() / 32 % (8 / Groups) * Each + n) / TilesO * 16; }
  __device__ static inline int output(int n) { return (thread() / 32 % (8 / Groups) * Each + n) % TilesO * 16; }

  // place calls put(c, o) for where sum i of tile n belongs: floats come in pairs, so row g of a tile is channel 2g and row g+8 the next, column g is
  // output 2g of the first half of the sums and the next of the second.
  template <class F> __device__ static inline void place(int n, int i, F put) {
    int g = thread() % 32 / 4, t = thread() % 4, row = i % 4 / 2, column = 2 * t + i % 2, half = i / 4;
    if constexpr (sizeof(T) == sizeof(float)) {
      put(channel(n) + 2 * g + row, output(n) + 2 * column + half);
    } else {
      put(channel(n) + g + 8 * row, output(n) + column + 8 * half);
    }
  }

  // deep calls f(k, at) for each step of so many pixels of the warp's group: the first of them, and where it is in x. Groups have neighbouring ones where all have as many.
  template <int Depth, class F> __device__ static inline void deep(F f) {
    constexpr bool Even = Pixels % (Depth * Groups) == 0;
    constexpr int Span = Even ? Pixels / Groups : Pixels, Step = Even ? Depth : Depth * Groups;
    static_assert(!Even || X::Skip == 0 || X::Width % Span == 0 || Span % X::Width == 0, "groups begin lines, or stay in one");
    int first = (Even ? Span : Depth) * group();
#pragma unroll 2
    for (int j = 0; Even ? j < Span : first + j < Pixels; j += Step) f(first + j, Even ? X::at(first) + (Span <= X::Width ? j * X::Stride : X::at(j)) : X::at(first + j));
  }

  // add adds the products of a tile's pixels.
  __device__ static inline void add(Totals& totals, Shared<bf16> x, Shared<bf16> g) {
    typedef Fragments<bf16, Exact> F;
    int lane = thread() % 32;
#pragma unroll
    for (int n = 0; n < Each; n++) {
      if (channel(n) >= C) continue;
      int c = smaller(channel(n) + lane / 8 % 2 * 8, eights(C) - 8), o = smaller(output(n) + lane / 16 * 8, eights(O) - 8); // what is behind is not wanted
      deep<16>([&](int k, int at) {
        int left = lane / 16 * 8 + lane % 8, right = k + lane % 16;
        typename F::Left a;
        unsigned b[4];
        load_matrices<true>(a.of, x, at + (Pixels % 16 == 0 ? left : smaller(left, Pixels - 1 - k)) * X::Stride + c);
        load_matrices<true>(b, g, right * spread(O) + o);
        for (int half = 0; half < 2; half++) F::multiply(totals.of[n][half], a, typename F::Right{{b[2 * half], b[2 * half + 1]}});
      });
    }
  }
  __device__ static inline void add(Totals& totals, Shared<float> x, Shared<float> g) {
    int lane = thread() % 32 / 4, t = thread() % 4;
    constexpr bool Whole = Pixels % 8 == 0;
#pragma unroll
    for (int n = 0; n < Each; n++) {
      int c = channel(n) + 2 * lane, o = output(n) + 2 * lane;
      if (channel(n) >= C) continue;
      if constexpr (Exact && C < 16) { // as in Matrix
        for (int half = 0; half < 2; half++)
          for (int i = 0; i < 4; i++) {
            int row = c + i / 2, column = output(n) + 2 * (2 * t + i % 2) + half;
            double total = 0;
            for (int pixel = group(); pixel < Pixels && row < C && column < O; pixel += Groups) total += (double)x[X::at(pixel) + row] * g[pixel * spread(O) + column];
            totals.of[n][half][i] += (float)total;
          }
        continue;
      }
      deep<8>([&](int k, int at) {
        Pack<2> left[2], right[2];
        for (int i = 0; i < 2; i++) {
          int pixel = t + 4 * i;
          bool there = Whole || k + pixel < Pixels;
          left[i] = there && (C % 16 == 0 || c < C) ? load<2>(x, at + pixel * X::Stride + c) : zero<2>();
          right[i] = there && (O % 16 == 0 || o < O) ? load<2>(g, (k + pixel) * spread(O) + o) : zero<2>();
        }
        const float a[4] = {left[0].v[0], left[0].v[1], left[1].v[0], left[1].v[1]};
        Split<4, Exact> rows(a);
#pragma unroll
        for (int half = 0; half < 2; half++) {
          const float b[2] = {right[0].v[half], right[1].v[half]};
          multiply_split(totals.of[n][half], rows, Split<2, Exact>(b));
        }
      });
    }
  }

  // finish adds what the groups have, in order, in the block's shared memory from its beginning on: put(c, o, total).
  template <class F> __device__ static inline void finish(const Totals& totals, F put) {
    auto room = shared<float>(0, Groups * C * O);
#pragma unroll
    for (int n = 0; n < Each; n++) {
      for (int i = 0; i < 8; i++)
        place(n, i, [&](int c, int o) {
          if (c < C && o < O) room[(group() * C + c) * O + o] = totals.of[n][i / 4][i % 4];
        });
    }
    __syncthreads();
    for (int i = thread(); i < C * O; i += Threads) {
      double total = 0;
      for (int group = 0; group < Groups; group++) total += (double)room[group * C * O + i];
      put(i / O, i % O, (float)total);
    }
  }
};
