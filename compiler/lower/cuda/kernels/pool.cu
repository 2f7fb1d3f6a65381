// Pooling over windows, images channels last. A thread makes some results below one another, whose windows share rows: a row of a window is pooled once.
// S: n, h, w, c (of x), oh, ow (of y), kh, kw, sh, sw, ph, pw (pads before),
// include (pads count in the average), V; of all but MaxPoolGrad also blocks, and down: results of a thread below one another, on the way back in whole strides.
template <class S> struct Pooling {
  // A pack of channels of results of images of the given size, from a row and a column on.
  int n, row, column, channel;
  __device__ inline Pooling(int i, int height, int width, int across) {
    constexpr int Packs = S::c / S::V;
    channel = i % Packs * S::V;
    i /= Packs;
    column = i % ceiling(width, across) * across;
    i /= ceiling(width, across);
    row = i % ceiling(height, S::down) * S::down;
    n = i / ceiling(height, S::down);
  }
  static __device__ constexpr int items(int height, int width, int across) {
    return S::n * ceiling(height, S::down) * ceiling(width, across) * (S::c / S::V);
  }
  static __device__ inline int input(int n, int row, int column, int channel) { return ((n * S::h + row) * S::w + column) * S::c + channel; }
  static __device__ inline int output(int n, int row, int column, int channel) { return ((n * S::oh + row) * S::ow + column) * S::c + channel; }

  // count is how many pixels an average divides by, of a window of so many rows and columns of the image.
  static __device__ inline float count(int rows, int columns) { return S::include ? S::kh * S::kw : rows * columns; }
  // rows and columns of the image in a window from first on; 1 where there is no such window.
  static __device__ inline int rows(int first) { return larger(1, smaller(first + S::kh, S::h) - larger(first, 0)); }
  static __device__ inline int columns(int first) { return larger(1, smaller(first + S::kw, S::w) - larger(first, 0)); }
  static __device__ inline int clamped(int i, int n) { return smaller(larger(i, 0), n - 1); }
  static __device__ inline Pack<S::V> lowest() {
    Pack<S::V> out;
    for (int k = 0; k < S::V; k++) out.v[k] = __uint_as_float(0xff800000); // -∞
    return out;
  }
};

// MaxPool (operation max_pool2d).
template <class S> struct MaxPool {
  In<typename S::Image> x;
  Out<typename S::Image> y;

  __device__ void run(int block) const {
    typedef Pooling<S> P;
    for (int i = block * Threads + thread(); i < P::items(S::oh, S::ow, 1); i += S::blocks * Threads) {
      P at(i, S::oh, S::ow, 1);
      int top = at.row * S::sh - S::ph, left = at.column * S::sw - S::pw;
      Pack<S::V> best[S::down];
      for (int j = 0; j < S::down; j++) best[j] = P::lowest();
#pragma unroll
      for (int t = 0; t < (S::down - 1) * S::sh + S::kh; t++) {
        Pack<S::V> most = P::lowest();
#pragma unroll
        for (int b = 0; b < S::kw; b++) { // instead of a pixel outside, its nearest inside, which is in the window too
          Pack<S::V> v = load<S::V>(x, P::input(at.n, P::clamped(top + t, S::h), P::clamped(left + b, S::w), at.channel));
          for (int k = 0; k < S::V; k++) most.v[k] = fmaxf(most.v[k], v.v[k]);
        }
#pragma unroll
        for (int j = 0; j < S::down; j++)
          if (t >= j * S::sh && t < j * S::sh + S::kh)
            for (int k = 0; k < S::V; k++) best[j].v[k] = fmaxf(best[j].v[k], most.v[k]);
      }
#pragma unroll
      for (int j = 0; j < S::down; j++)
        if (at.row + j < S::oh) store<S::V>(y, P::output(at.n, at.row + j, at.column, at.channel), best[j]);
    }
  }
};

// MaxPoolGrad: the cotangent of each window goes to its first maximum (operation max_pool2d_grad). A block takes some bands of rows of x, of some channels. A
// thread goes down a column of windows: each row of a window has its first maximum, the first of which is the window's; for each column of the window it
// adds up what goes to the rows of the band. Then every pixel of x adds what the columns of windows that it is in have for it.
// S: also band (rows of x, in whole strides), bands (of a block), lanes (packs of channels).
template <class S> struct MaxPoolGrad {
  static constexpr int Tiles = ceiling(S::c / S::V, S::lanes), Bands = ceiling(S::h, S::band);
  typedef Phase<S::kh, S::sh, 1, S::ph> R;
  // Windows that reach into a band: the first is Low behind it, in strides, and begins From behind it, in rows.
  static constexpr int Low = R::floor(S::ph - S::kh + S::sh), From = Low * S::sh - S::ph, Most = R::floor(S::band - 1 + S::ph) - Low + 1;
  static constexpr int Rows = (Most - 1) * S::sh + S::kh, Count = S::bands * S::band * S::kw * S::ow * S::lanes * S::V;
  In<typename S::Image> g, x;
  Out<typename S::Image> dx;

  // part is the place of what a column of windows has for a row of a band, through column b of the window.
  __device__ static inline int part(int band, int row, int b, int column, int lane) {
    return ((((band * S::band + row) * S::kw + b) * S::ow + column) * S::lanes + lane) * S::V;
  }

  __device__ void run(int block) const {
    typedef Pooling<S> P;
    int tile = block % Tiles, first = block / Tiles * S::bands;
    auto parts = shared<float>(0, Count);
    for (int i = thread(); i < S::bands * S::ow * S::lanes; i += Threads) {
      int lane = i % S::lanes, column = i / S::lanes % S::ow, band = i / S::lanes / S::ow, channel = (tile * S::lanes + lane) * S::V;
      if (channel < S::c && first + band < S::n * Bands) down((first + band) / Bands, (first + band) % Bands * S::band, column, channel, parts, band, lane);
    }
    __syncthreads();
    for (int i = thread(); i < S::bands * S::band * S::w * S::lanes; i += Threads) {
      int lane = i % S::lanes, column = i / S::lanes % S::w, down = i / S::lanes / S::w % S::band, band = i / S::lanes / S::w / S::band;
      int channel = (tile * S::lanes + lane) * S::V, image = (first + band) / Bands, row = (first + band) % Bands * S::band + down;
      if (channel >= S::c || image >= S::n || row >= S::h) continue;
      Pack<S::V> sum = zero<S::V>();
#pragma unroll
      for (int b = S::kw - 1; b >= 0; b--) {
        int q = (column + S::pw - b) / S::sw;
        if (column + S::pw < b || q * S::sw != column + S::pw - b || q >= S::ow) continue;
        Pack<S::V> v = load<S::V>(parts, part(band, down, b, q, lane));
        for (int k = 0; k < S::V; k++) sum.v[k] += v.v[k];
      }
      store<S::V>(dx, P::input(image, row, column, channel), sum);
    }
  }

  // down is what a thread does with the windows of a column that reach into the band whose first row is top.
  template <class T> __device__ inline void down(int image, int top, int column, int channel, T parts, int band, int lane) const {
    typedef Pooling<S> P;
    int left = column * S::sw - S::pw, first = larger(0, -left);
    Pack<S::V> most[Rows], sum[S::band][S::kw] = {};
    int place[Rows][S::V]; // in the row
#pragma unroll
    for (int j = 0; j < Most; j++) {
#pragma unroll
      for (int t = j == 0 ? 0 : (j - 1) * S::sh + S::kh; t < j * S::sh + S::kh; t++) {
        for (int k = 0; k < S::V; k++) place[t][k] = first;
        int row = top + From + t;
#pragma unroll
        for (int b = 0; b < S::kw; b++) {
          Pack<S::V> v = P::lowest();
          if ((unsigned)row < (unsigned)S::h && (unsigned)(left + b) < (unsigned)S::w) v = load<S::V>(x, P::input(image, row, left + b, channel));
          if (b == 0) most[t] = v;
          for (int k = 0; k < S::V && b > 0; k++) {
            bool more = v.v[k] > most[t].v[k];
            most[t].v[k] = more ? v.v[k] : most[t].v[k], place[t][k] = more ? b : place[t][k];
          }
        }
      }
      int window = top / S::sh + Low + j;
      Pack<S::V> c = zero<S::V>();
      if ((unsigned)window < (unsigned)S::oh) c = load<S::V>(g, P::output(image, window, column, channel));
      for (int k = 0; k < S::V; k++) {
        float best = most[j * S::sh].v[k];
        int where = larger(0, S::ph - window * S::sh) * S::kw + place[j * S::sh][k]; // the first, be they all -∞
#pragma unroll
        for (int a = 1; a < S::kh; a++) {
          bool more = most[j * S::sh + a].v[k] > best;
          best = more ? most[j * S::sh + a].v[k] : best, where = more ? a * S::kw + place[j * S::sh + a][k] : where;
        }
#pragma unroll
        for (int p = 0; p < S::kh * S::kw; p++) {
          int row = From + j * S::sh + p / S::kw;
          if (row >= 0 && row < S::band) sum[smaller(larger(row, 0), S::band - 1)][p % S::kw].v[k] += where == p ? c.v[k] : 0.0f;
        }
      }
#pragma unroll
      for (int row = larger(0, From + j * S::sh); row < smaller(S::band, j == Most - 1 ? S::band : From + (j + 1) * S::sh); row++)
        for (int b = 0; b < S::kw; b++) store<S::V>(parts, part(band, row, b, column, lane), sum[row][b]);
      in_order();
    }
  }
};

// AveragePool (operation avg_pool2d).
template <class S> struct AveragePool {
  In<typename S::Image> x;
  Out<typename S::Image> y;

  __device__ void run(int block) const {
    typedef Pooling<S> P;
    for (int i = block * Threads + thread(); i < P::items(S::oh, S::ow, 1); i += S::blocks * Threads) {
      P at(i, S::oh, S::ow, 1);
      int top = at.row * S::sh - S::ph, left = at.column * S::sw - S::pw;
      Pack<S::V> sum[S::down] = {};
#pragma unroll
      for (int t = 0; t < (S::down - 1) * S::sh + S::kh; t++) {
        Pack<S::V> part = zero<S::V>();
#pragma unroll
        for (int b = 0; b < S::kw; b++) {
          Pack<S::V> v = zero<S::V>();
          if ((unsigned)(top + t) < (unsigned)S::h && (unsigned)(left + b) < (unsigned)S::w) v = load<S::V>(x, P::input(at.n, top + t, left + b, at.channel));
          for (int k = 0; k < S::V; k++) part.v[k] += v.v[k];
        }
#pragma unroll
        for (int j = 0; j < S::down; j++)
          if (t >= j * S::sh && t < j * S::sh + S::kh)
            for (int k = 0; k < S::V; k++) sum[j].v[k] += part.v[k];
      }
#pragma unroll
      for (int j = 0; j < S::down; j++) {
        if (at.row + j >= S::oh) continue;
        float count = P::count(P::rows(top + j * S::sh), P::columns(left)), share = 1 / count;
        for (int k = 0; k < S::V; k++) { // the quotient to its last bit: a BatchNorm of few values magnifies it
          float mean = sum[j].v[k] * share;
          sum[j].v[k] = fmaf(fmaf(-mean, count, sum[j].v[k]), share, mean);
        }
        store<S::V>(y, P::output(at.n, at.row + j, at.column, at.channel), sum[j]);
      }
    }
  }
};

// AveragePoolGrad (operation avg_pool2d_grad). A thread makes all phases of a stride side by side.
template <class S> struct AveragePoolGrad {
  typedef Phase<S::kh, S::sh, 1, S::ph> R;
  typedef Phase<S::kw, S::sw, 1, S::pw> Q;
  In<typename S::Image> g;
  Out<typename S::Image> dx;

  __device__ void run(int block) const {
    typedef Pooling<S> P;
    for (int i = block * Threads + thread(); i < P::items(S::h, S::w, S::sw); i += S::blocks * Threads) {
      P at(i, S::h, S::w, S::sw);
      int top = at.row / S::sh + R::Low, left = at.column / S::sw + Q::Low;
      Pack<S::V> sum[S::down][S::sw] = {};
#pragma unroll
      for (int t = 0; t < S::down / S::sh - 1 + R::Span; t++) {
        Pack<S::V> part[S::sw] = {};
#pragma unroll
        for (int u = 0; u < Q::Span; u++) {
          Pack<S::V> v = zero<S::V>();
          if ((unsigned)(top + t) < (unsigned)S::oh && (unsigned)(left + u) < (unsigned)S::ow) v = load<S::V>(g, P::output(at.n, top + t, left + u, at.channel));
          float share = 1 / P::count(P::rows((top + t) * S::sh - S::ph), P::columns((left + u) * S::sw - S::pw));
#pragma unroll
          for (int b = 0; b < S::kw * S::sw; b++)
            if (Q::source(b % S::sw, b / S::sw) == u)
              for (int k = 0; k < S::V; k++) part[b % S::sw].v[k] += v.v[k] * share;
        }
#pragma unroll
        for (int a = 0; a < S::kh * S::down; a++)
          if (R::source(a % S::down % S::sh, a / S::down) >= 0 && R::source(a % S::down % S::sh, a / S::down) + a % S::down / S::sh == t)
            for (int c = 0; c < S::sw; c++)
              for (int k = 0; k < S::V; k++) sum[a % S::down][c].v[k] += part[c].v[k];
      }
#pragma unroll
      for (int j = 0; j < S::down; j++)
        for (int c = 0; c < S::sw; c++)
          if (at.row + j < S::h && at.column + c < S::w) store<S::V>(dx, P::input(at.n, at.row + j, at.column + c, at.channel), sum[j][c]);
    }
  }
};
