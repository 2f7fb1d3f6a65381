// Pooling over windows, images channels last. S: n, h, w, c (of x), oh, ow (of y), kh, kw, sh, sw, ph, pw (pads before),
// include (pads count in the average), V, blocks.
template <class S> struct Pooling {
  // A pack of channels at one pixel of an image of the given size.
  int n, row, column, channel;
  __device__ inline Pooling(int i, int height, int width) {
    constexpr int Packs = S::c / S::V;
    channel = i % Packs * S::V;
    i /= Packs;
    column = i % width;
    i /= width;
    row = i % height;
    n = i / height;
  }
  static __device__ inline int input(int n, int row, int column, int channel) { return ((n * S::h + row) * S::w + column) * S::c + channel; }
  static __device__ inline int output(int n, int row, int column, int channel) { return ((n * S::oh + row) * S::ow + column) * S::c + channel; }

  static __device__ inline float divisor(int row, int column) {
    if (S::include) return S::kh * S::kw;
    int top = row * S::sh - S::ph, left = column * S::sw - S::pw;
    return (float)((smaller(top + S::kh, S::h) - larger(top, 0)) * (smaller(left + S::kw, S::w) - larger(left, 0)));
  }

  // The windows that hold pixel p are those from first(p) to last(p).
  static __device__ inline int first(int p, int pad, int kernel, int stride) {
    int a = p + pad - kernel + 1;
    return a <= 0 ? 0 : ceiling(a, stride);
  }
  static __device__ inline int last(int p, int pad, int stride, int count) { return smaller((p + pad) / stride, count - 1); }
};

// MaxPool (operation max_pool2d).
template <class S> struct MaxPool {
  In<float> x;
  Out<float> y;

  __device__ void run(int block) const {
    typedef Pooling<S> P;
    for (int i = block * Threads + thread(); i < S::n * S::oh * S::ow * (S::c / S::V); i += S::blocks * Threads) {
      P at(i, S::oh, S::ow);
      int top = at.row * S::sh - S::ph, left = at.column * S::sw - S::pw;
      Pack<S::V> best;
      bool any = false;
#pragma unroll
      for (int a = 0; a < S::kh; a++)
#pragma unroll
        for (int b = 0; b < S::kw; b++) {
          if (top + a < 0 || top + a >= S::h || left + b < 0 || left + b >= S::w) continue;
          Pack<S::V> v = load<S::V>(x, P::input(at.n, top + a, left + b, at.channel));
          for (int k = 0; k < S::V; k++) best.v[k] = any && !(v.v[k] > best.v[k]) ? best.v[k] : v.v[k];
          any = true;
        }
      store<S::V>(y, P::output(at.n, at.row, at.column, at.channel), best);
    }
  }
};

// MaxPoolGrad: the cotangent of each window goes to its first maximum (operation max_pool2d_grad). Every pixel of x looks
// at the windows that it is in: no two threads add to one place.
template <class S> struct MaxPoolGrad {
  In<float> g, x;
  Out<float> dx;

  __device__ void run(int block) const {
    typedef Pooling<S> P;
    for (int i = block * Threads + thread(); i < S::n * S::h * S::w * (S::c / S::V); i += S::blocks * Threads) {
      P at(i, S::h, S::w);
      Pack<S::V> sum = zero<S::V>(), own = load<S::V>(x, P::input(at.n, at.row, at.column, at.channel));
      for (int r = P::first(at.row, S::ph, S::kh, S::sh); r <= P::last(at.row, S::ph, S::sh, S::oh); r++)
        for (int q = P::first(at.column, S::pw, S::kw, S::sw); q <= P::last(at.column, S::pw, S::sw, S::ow); q++) {
          int top = r * S::sh - S::ph, left = q * S::sw - S::pw;
          bool mine[S::V];
          for (int k = 0; k < S::V; k++) mine[k] = true;
#pragma unroll
          for (int a = 0; a < S::kh; a++)
#pragma unroll
            for (int b = 0; b < S::kw; b++) {
              int y = top + a, z = left + b;
              if (y < 0 || y >= S::h || z < 0 || z >= S::w) continue;
              bool before = y < at.row || (y == at.row && z < at.column);
              Pack<S::V> v = load<S::V>(x, P::input(at.n, y, z, at.channel));
              for (int k = 0; k < S::V; k++) mine[k] = mine[k] && !(before ? v.v[k] >= own.v[k] : v.v[k] > own.v[k]);
            }
          Pack<S::V> c = load<S::V>(g, P::output(at.n, r, q, at.channel));
          for (int k = 0; k < S::V; k++)
            if (mine[k]) sum.v[k] += c.v[k];
        }
      store<S::V>(dx, P::input(at.n, at.row, at.column, at.channel), sum);
    }
  }
};

// AveragePool (operation avg_pool2d).
template <class S> struct AveragePool {
  In<float> x;
  Out<float> y;

  __device__ void run(int block) const {
    typedef Pooling<S> P;
    for (int i = block * Threads + thread(); i < S::n * S::oh * S::ow * (S::c / S::V); i += S::blocks * Threads) {
      P at(i, S::oh, S::ow);
      int top = at.row * S::sh - S::ph, left = at.column * S::sw - S::pw;
      Pack<S::V> sum = zero<S::V>();
#pragma unroll
      for (int a = 0; a < S::kh; a++)
#pragma unroll
        for (int b = 0; b < S::kw; b++) {
          if (top + a < 0 || top + a >= S::h || left + b < 0 || left + b >= S::w) continue;
          Pack<S::V> v = load<S::V>(x, P::input(at.n, top + a, left + b, at.channel));
          for (int k = 0; k < S::V; k++) sum.v[k] += v.v[k];
        }
      float factor = 1.0f / P::divisor(at.row, at.column);
      for (int k = 0; k < S::V; k++) sum.v[k] *= factor;
      store<S::V>(y, P::output(at.n, at.row, at.column, at.channel), sum);
    }
  }
};

// AveragePoolGrad (operation avg_pool2d_grad).
template <class S> struct AveragePoolGrad {
  In<float> g;
  Out<float> dx;

  __device__ void run(int block) const {
    typedef Pooling<S> P;
    for (int i = block * Threads + thread(); i < S::n * S::h * S::w * (S::c / S::V); i += S::blocks * Threads) {
      P at(i, S::h, S::w);
      Pack<S::V> sum = zero<S::V>();
      for (int r = P::first(at.row, S::ph, S::kh, S::sh); r <= P::last(at.row, S::ph, S::sh, S::oh); r++)
        for (int q = P::first(at.column, S::pw, S::kw, S::sw); q <= P::last(at.column, S::pw, S::sw, S::ow); q++) {
          Pack<S::V> v = load<S::V>(g, P::output(at.n, r, q, at.channel));
          float factor = 1.0f / P::divisor(r, q);
          for (int k = 0; k < S::V; k++) sum.v[k] += v.v[k] * factor;
        }
      store<S::V>(dx, P::input(at.n, at.row, at.column, at.channel), sum);
    }
  }
};
